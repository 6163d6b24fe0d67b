"""The protocol between a collector and a relay on another host: frames of [length, channel, payload] over TCP.

Channel 0 is the relay's own control channel, in JSON; each other channel is one process of the app, whose messages are
passed on unread.
"""

from __future__ import annotations

import json
import struct
from typing import Any

HEAD = struct.Struct(">II")
MAX_FRAME = 1 << 20
MAX_UNAUTHENTICATED_FRAME = 4096
"""Bytes of a frame from an end that has not proved yet that it has the secret."""


class FrameReader:
    """A reader that cuts a stream of bytes into frames of at most `max_frame` bytes."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self.max_frame = max_frame
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that are complete now, as (channel, payload); raise ValueError for one that is too long."""
        self._buffer += data
        frames = []
        at = 0
        while len(self._buffer) - at >= HEAD.size:
            length, channel = HEAD.unpack_from(self._buffer, at)
            if length > self.max_frame:
                raise ValueError(f"a frame of {length} bytes")
            begin = at + HEAD.size
            if len(self._buffer) < begin + length:
                break
            at = begin + length
            frames.append((channel, self._buffer[begin:at]))
        self._buffer = self._buffer[at:]
        return frames


def frame(channel: int, payload: bytes) -> bytes:
    return HEAD.pack(len(payload), channel) + payload


def control_frame(**message: Any) -> bytes:
    """Return a frame of the control channel."""
    return frame(0, json.dumps(message).encode())
