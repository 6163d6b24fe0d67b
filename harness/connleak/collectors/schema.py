"""The probe's messages, typed and bounded; anything else is rejected whole.

A message comes from a process that may be hostile or broken: its numbers fit into the recording, its lists are not
longer than the probe makes them, and texts are cut. `probe/agent/messages.py` is the other end.

Fields have the recording's names: `decoder.py` translates times, stacks, processes and texts, and copies the rest.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from connleak.model.recording import HOST
from connleak.model.struct import Struct
from connleak.processes.decoding import Count, InvalidMessage, decode

MAX_HELLO = 4096
"""Bytes of a first message, with which a process authenticates."""
MAX_MESSAGE = 1 << 20
"""Bytes of any other message."""
MAX_TEXT = 1000
"""Characters of a text that are kept."""
BATCH = 1000
"""Events or rows in one message; the probe sends at most 300."""

Number = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
"""-1 means none."""
Backend = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A session as its driver numbers it: behind PgBouncer before 1.21 half of the numbers are negative."""
Pid = Annotated[int, Meta(ge=1, lt=HOST)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Stack = Annotated[tuple[tuple[str, Number, str], ...], Meta(max_length=16)]
Flat = Annotated[list[Backend], Meta(max_length=7 * BATCH)]
Names = Annotated[tuple[str, ...], Meta(max_length=100)]
Kind = Literal["connect", "close", "pool", "wait", "timeout", "refused", "shared", "invalidate", "note"]


class Hello(Struct, frozen=True, kw_only=True):
    """The first message of a process, authenticated by the token; `hello` is its pid."""

    hello: Pid
    token: str = ""
    parent: Count = 0
    python: str = "?"
    command: str = ""


class EventFacts(Struct, frozen=True, kw_only=True):
    """The facts of an event other than a checkout or checkin; `at` is the number of its stack."""

    thread: Number = 0
    backend: Backend | None = None
    at: Number = -1
    pool: Number = 0
    gc: bool = False
    overflow: bool = False
    nested: bool = False
    seconds: Seconds = 0.0
    detail: str = ""
    other: Annotated[int, Meta(ge=0, lt=HOST)] = 0
    action: str = ""


class HolderMessage(Struct, frozen=True, kw_only=True, tag_field="row", tag="holder"):
    """A current checkout of the process; `at` and `now` are numbers of stacks."""

    checkout: Number
    backend: Backend | None
    since: Seconds
    at: Number
    thread: Number
    thread_name: str
    thread_alive: bool
    task: bool
    now: Number
    pool: Number
    source: str
    request: str


class PoolMessage(Struct, frozen=True, kw_only=True, tag_field="row", tag="pool"):
    """A live pool of the process; `at` is the number of the stack that made it."""

    pool: Number
    kind: str
    size: Number
    max_overflow: Number = 0
    timeout: Seconds | None = 0.0
    checked_out: Number = 0
    idle: Annotated[tuple[Backend, ...], Meta(max_length=100 * BATCH)] = ()
    at: Number = -1
    created: Seconds = 0.0
    used: bool = True


Row = HolderMessage | PoolMessage


class Message(Struct, frozen=True, kw_only=True):
    """A later message: events (if `checkouts` is there), an answer, or the holder table at the first exhaustion."""

    stacks: Annotated[dict[Number, Stack], Meta(max_length=10 * BATCH)] = {}
    requests: Annotated[dict[Number, str], Meta(max_length=10 * BATCH)] = {}
    dropped: Count | None = None

    checkouts: Flat | None = None
    checkins: Flat = []
    collected: Flat = []
    events: Annotated[list[tuple[Seconds, Kind, EventFacts]], Meta(max_length=BATCH)] = []
    out: Count = 0
    waiting: Count = 0
    threadless: bool = False

    answer: Number | None = None
    rows: Annotated[tuple[Row, ...], Meta(max_length=BATCH)] = ()
    unwatched: Names | None = None
    by_gc: Count = 0
    planted: str | None = None
    final: bool = False

    first_exhaustion: str | None = None
    t: Seconds = 0.0


_hello = msgspec.json.Decoder(Hello)
_message = msgspec.json.Decoder(Message)


def hello(data: bytes) -> Hello:
    """Return a first message; raise InvalidMessage."""
    if len(data) > MAX_HELLO:
        raise InvalidMessage(f"a first message of more than {MAX_HELLO} bytes")
    return decode(_hello, data)


def message(data: bytes) -> Message:
    """Return a later message; raise InvalidMessage."""
    return decode(_message, data)


def rows_of(flat: list[int], size: int) -> list[tuple[int, ...]]:
    """Return a flat list as rows; raise InvalidMessage if its length is not a multiple of their size."""
    if len(flat) % size:
        raise InvalidMessage(f"{len(flat)} numbers are not rows of {size}")
    return list(zip(*[iter(flat)] * size, strict=True))
