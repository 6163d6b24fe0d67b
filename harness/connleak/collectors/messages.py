"""What a probe may say to the collector, typed and bounded; anything else is refused whole.

A message comes from a process that may be hostile or broken: no number in it is too large to be written down, no list
longer than the probe makes them, and texts are cut. `probe/agent/messages.py` is the other end.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from connleak.model.recording import HOST
from connleak.model.struct import Struct
from connleak.recording.reader import DAMAGED

HELLO = 4096
"""Bytes of a first message, by which a process shows who it is."""
LARGEST = 1 << 20
"""Bytes of any other."""
TEXT = 1000
"""Characters that are kept of a text."""
BATCH = 1000
"""Events or rows in one message; the probe sends at most 300."""

Number = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
"""-1 stands for none."""
Backend = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A session as its driver numbers it: behind PgBouncer before 1.21 half of the numbers are negative."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Pid = Annotated[int, Meta(ge=1, lt=HOST)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
Stack = Annotated[tuple[tuple[str, Number, str], ...], Meta(max_length=16)]
Flat = Annotated[list[Backend], Meta(max_length=7 * BATCH)]
Names = Annotated[tuple[str, ...], Meta(max_length=100)]
Kind = Literal["connect", "close", "pool", "wait", "timeout", "refused", "shared", "invalidate", "note"]
T = TypeVar("T")


class Nonsense(Exception):
    """A message that is none of ours; its words say where."""


class Hello(Struct, frozen=True, kw_only=True):
    """The first message of a process; the token shows that it may speak."""

    hello: Pid
    token: str = ""
    parent: Count = 0
    python: str = "?"
    command: str = ""


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of an event other than a checkout or its return."""

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


class HolderRow(Struct, frozen=True, kw_only=True, tag_field="row", tag="holder"):
    """A checkout that is out in the process."""

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


class PoolRow(Struct, frozen=True, kw_only=True, tag_field="row", tag="pool"):
    """A pool that is alive in the process."""

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


Row = HolderRow | PoolRow


class Message(Struct, frozen=True, kw_only=True):
    """Any later message: events (`taken` is there), an answer, or the table at the first refusal (`frozen`)."""

    stacks: Annotated[dict[Number, Stack], Meta(max_length=10 * BATCH)] = {}
    requests: Annotated[dict[Number, str], Meta(max_length=10 * BATCH)] = {}
    dropped: Count | None = None

    taken: Flat | None = None
    returned: Flat = []
    collected: Flat = []
    others: Annotated[list[tuple[Seconds, Kind, Facts]], Meta(max_length=BATCH)] = []
    out: Count = 0
    waiting: Count = 0
    alone: bool = False

    answer: Number | None = None
    rows: Annotated[tuple[Row, ...], Meta(max_length=BATCH)] = ()
    unwatched: Names | None = None
    by_gc: Count = 0
    planted: str | None = None
    final: bool = False

    frozen: str | None = None
    t: Seconds = 0.0


_hello = msgspec.json.Decoder(Hello)
_message = msgspec.json.Decoder(Message)


def hello(data: bytes) -> Hello:
    """Returns a first message; raises Nonsense."""
    if len(data) > HELLO:
        raise Nonsense(f"a first message of more than {HELLO} bytes")
    return decoded(_hello, data)


def message(data: bytes) -> Message:
    """Returns a later message; raises Nonsense."""
    return decoded(_message, data)


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Returns what a decoder reads; raises Nonsense, too, for what is nested too deeply."""
    try:
        return decoder.decode(data)
    except DAMAGED as error:
        raise Nonsense(str(error)[:200]) from None


def rows_of(flat: list[int], size: int) -> list[tuple[int, ...]]:
    """Returns a flat list cut into tuples; raises Nonsense when it is no whole number of them."""
    if len(flat) % size:
        raise Nonsense(f"{len(flat)} numbers are no whole rows of {size}")
    return list(zip(*[iter(flat)] * size, strict=True))
