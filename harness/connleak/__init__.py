"""connleak: reproduce database connection leaks under load, name the line that holds the connections, prove the fix.

The package exports the names of `connleak.api`, and imports them on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connleak.version import __version__

if TYPE_CHECKING:
    from connleak.api import (
        Comparison,
        Error,
        Recording,
        Result,
        RunOptions,
        Verdict,
        compare,
        judge,
        read,
        run,
        to_pandas,
        to_polars,
    )

__all__ = [
    "Comparison", "Error", "Recording", "Result", "RunOptions", "Verdict", "__version__", "compare", "judge", "read",
    "run", "to_pandas", "to_polars",
]  # fmt: skip


if not TYPE_CHECKING:  # a type checker takes the names from the imports above, and reports any other

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from connleak import api

        return getattr(api, name)
