"""JSON from other processes, which may be hostile or broken: it has the expected type, or it is rejected whole."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from connleak.recording.reader import DAMAGED

Count = Annotated[int, Meta(ge=0, le=2**53)]
T = TypeVar("T")


class InvalidMessage(Exception):
    """A message that does not have the expected type; its text gives the place."""


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Return the decoded message; raise InvalidMessage, also if it is nested too deeply."""
    try:
        return decoder.decode(data)
    except DAMAGED as error:
        raise InvalidMessage(str(error)[:200]) from None
