"""Compares the stored recordings' verdicts with the golden file, or with --write writes it anew for review in git."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from golden import VERDICTS, differences, entry, recordings, stored, text_of
from golden.cases import known_wrong


def main() -> int:
    """Returns 1 when a verdict differs from the golden file and that is not written anew."""
    parser = argparse.ArgumentParser(prog="python -m golden", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {VERDICTS.name} anew")
    write = parser.parse_args().write
    before = stored() if VERDICTS.exists() else {}
    now = {name: entry(path, known_wrong(name)) for name, path in recordings().items()}
    changed = [line for name in sorted({**before, **now}) for line in changes(name, before, now)]
    print(*changed, sep="\n")
    if write:
        VERDICTS.write_text(text_of(now), encoding="utf-8")
        print(f"{VERDICTS}: {len(now)} verdicts, {len(changed)} changes", file=sys.stderr)
        return 0
    return int(bool(changed))


def changes(name: str, before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns what is otherwise in a recording's verdict than it was."""
    if name not in before or name not in now:
        return [f"{name}: {'new' if name in now else 'gone'}"]
    return [f"{name}: {line}" for line in differences(before[name], now[name])]


if __name__ == "__main__":
    sys.exit(main())
