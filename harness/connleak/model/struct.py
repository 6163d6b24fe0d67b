"""The base of all values: frozen, keyword arguments only."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""A moment or a length; a row with one beyond thirty years either way is not read."""


class Struct(msgspec.Struct, frozen=True):
    """A frozen record."""
