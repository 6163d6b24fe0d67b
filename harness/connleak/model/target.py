"""What the corpus is made of, frozen: a target, and each of its variants with the verdict that it must get."""

from __future__ import annotations

from typing import Literal

from connleak.model.recording import Outcome
from connleak.model.struct import Struct


class Variant(Struct, frozen=True, kw_only=True):
    """One file of a target, with the verdict that it must get."""

    name: str
    module: str
    expect: Outcome
    kinds: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    title: str = ""
    scenario: str
    serve: str
    load: Literal["", "none"] = ""
    probe: str = "pool"
    users: int
    load_seconds: float
    max_connections: int
    listens: Literal["http", "tcp", "load"] = "http"
    """What answers at the address: http, tcp (a protocol of its own), or load (the scenario, which the app calls)."""
    requirements: tuple[str, ...] = ()
    """Packages, in pip's words, of the environment of its own that it runs in; none: connleak's own."""
    python: str = ""
    """Version of that environment's Python; empty: connleak's own."""


class Target(Struct, frozen=True, kw_only=True):
    """A small app with a story and its variants: what can be run."""

    name: str
    title: str
    folder: str
    pattern: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    scenario: str
    serve: str
    database: str = "postgresql"
    services: tuple[str, ...] = ()
    """What else it needs to run: redis."""
    pooler: dict[str, str] = {}
    """Settings of PgBouncer, where that is its database."""
    hours: float = 0.0
    """How long it took in the story until the wall was reached, which a run compresses."""
    variants: dict[str, Variant]
