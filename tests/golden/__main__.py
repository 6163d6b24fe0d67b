"""Compare the verdicts on the stored recordings with the golden file, or rewrite the file with --write."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from golden import VERDICTS, differences, entry, recordings, stored, text_of
from golden.cases import known_wrong


def main() -> int:
    """Return 1 if a verdict differs from the golden file and --write is not given."""
    parser = argparse.ArgumentParser(prog="python -m golden", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"rewrite {VERDICTS.name}")
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
    """Return the differences between a recording's verdicts."""
    if name not in before or name not in now:
        return [f"{name}: {'new' if name in now else 'gone'}"]
    return [f"{name}: {line}" for line in differences(before[name], now[name])]


if __name__ == "__main__":
    sys.exit(main())
