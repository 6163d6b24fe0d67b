"""The corpus, frozen: targets with their variants. The fields are the keys of target.toml."""

from __future__ import annotations

from typing import Literal

from connleak.model.outcomes import Outcome
from connleak.model.struct import Struct


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a target, `[variants.NAME]` in target.toml, with its expected verdict."""

    name: str
    module: str
    expect: Outcome
    kinds: tuple[str, ...] = ()
    """Kinds of findings that it must have."""
    may: tuple[str, ...] = ()
    """Kinds of findings that it may have besides."""
    title: str = ""
    serve: str
    """The command that serves it."""
    scenario: str = "steady_load"
    load: Literal["", "none"] = ""
    probe: Literal["pool", "queries", "off"] = "pool"
    users: int = 16
    load_seconds: float = 1.5
    max_connections: int = 100
    listens: Literal["http", "tcp", "load"] = "http"
    """Its protocol: http, tcp (any other), or load (the app calls the scenario, which listens)."""
    requirements: tuple[str, ...] = ()
    """Packages of the environment that it runs in, in pip's notation; none: connleak's environment."""
    python: str = ""
    """The Python version of that environment; empty: that of connleak."""


class Target(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small app with a story and its variants."""

    name: str
    title: str
    folder: str
    database: Literal["postgresql", "pgbouncer", "mysql", "sqlite"] = "postgresql"
    services: tuple[Literal["redis"], ...] = ()
    """Other servers that it needs."""
    pooler: dict[str, str] = {}
    """Settings of PgBouncer, where that is its database."""
    hours: float = 0.0
    """Hours until connections ran out in the story, which a run compresses."""
    variants: dict[str, Variant]


Pair = tuple[Target, Variant]


OWN_KEYS = {"name", "module", "expect", "kinds", "may", "title"}
"""Keys of a variant alone."""
SHARED_KEYS = set(Variant.__struct_fields__) - OWN_KEYS
"""Keys of a variant that a target may set for all its variants."""
VARIANT_KEYS = set(Variant.__struct_fields__) - {"name"}
TARGET_KEYS = set(Target.__struct_fields__) - {"name", "folder"} | SHARED_KEYS
