"""A moment of a live server, as a watch shows it."""

from __future__ import annotations

from connleak.model.struct import Struct
from connleak.model.verdict import HolderRow, Verdict


class Moment(Struct, frozen=True, kw_only=True):
    """One moment of a watched server, to be displayed."""

    t: float
    phase: str
    cycle: int
    server: str
    limit: int
    states: dict[str, int]
    applications: dict[str, int]
    levels: tuple[int, ...] = ()
    """Sessions that were present throughout each window."""
    longest_transaction: float = 0.0
    growth: float = 0.0
    """Sessions per hour, from the first window to the last."""
    hosts: tuple[str, ...] = ()
    processes: int = 0
    """Processes whose probe is connected."""
    holders: tuple[HolderRow, ...] = ()
    verdict: Verdict | None = None
