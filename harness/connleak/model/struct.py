"""The base of all frozen values."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""A time or a duration; a row with one further away than thirty years is not read."""


class Struct(msgspec.Struct, frozen=True):
    """A frozen record."""
