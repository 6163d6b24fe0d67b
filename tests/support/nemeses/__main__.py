"""A campaign: many faults, each with its seed, some in parallel; resumable; it prints the problems."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from support.nemeses import NEMESES
from support.nemeses.arena import Nemesis, Row, as_json, fight


def main() -> int:
    """Inject the faults that the results lack; return 1 if any result has a problem."""
    parser = argparse.ArgumentParser(prog="python -m support.nemeses", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="faults of each kind, by the seeds 1 to N (default: 1)")
    parser.add_argument("--first", type=int, default=1, help="the first of the seeds (default: 1)")
    parser.add_argument("--jobs", type=int, default=3, help="runs side by side (default: 3)")
    parser.add_argument("--out", type=Path, help="JSON lines to append to, and to resume from")
    parser.add_argument("--page", type=Path, help="a Markdown page into which the table is written, between its marks")
    parser.add_argument("--keep", type=Path, help="a folder for the recordings of faults with problems")
    parser.add_argument(
        "-k", nargs="*", default=[], metavar="NAME", help="only faults whose name contains one of these"
    )
    chosen = parser.parse_args()
    rows = read(chosen.out)
    for row in campaign(missing(rows, chosen), chosen.jobs, chosen.keep):
        rows.append(as_json(row))
        if chosen.out:
            with chosen.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
        print(line_of(rows[-1]), flush=True)
    print(table(rows))
    if chosen.page:
        write_into(chosen.page, "faults", table(rows))
    return int(any(row["problems"] for row in rows))


def read(path: Path | None) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def missing(rows: list[dict], chosen: argparse.Namespace) -> list[tuple[Nemesis, int]]:
    """Return the faults that the results lack, seed by seed."""
    done = {(row["nemesis"], row["seed"]) for row in rows}
    named = [n for n in NEMESES if not chosen.k or any(word in n.name for word in chosen.k)]
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    return [(nemesis, seed) for seed in seeds for nemesis in named if (nemesis.name, seed) not in done]


def campaign(faults: list[tuple[Nemesis, int]], jobs: int, keep: Path | None = None) -> Iterator[Row]:
    """Yield the row of each fault as it ends."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(fight, nemesis, seed, keep) for nemesis, seed in faults]
        try:
            for future in as_completed(futures):
                yield future.result()
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def line_of(row: dict) -> str:
    """Return one fault's line, with its problems below it."""
    injected = "" if row["injected"] else "  (too late)"
    head = f"{row['nemesis']:22} {row['seed']:3} {row['variant']:6} {row['phase']:9} {row['outcome']:13}"
    first = f"{head} {row['seconds']:5} s  {row['said'][:60]}{injected}"
    return "\n".join([first, *(f"      PROBLEM: {text}" for text in row["problems"])])


def table(rows: list[dict]) -> str:
    """Return a Markdown table of counts with a line for each kind of fault."""
    by_name: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        by_name[row["nemesis"]].append(row)
    lines = ["| Fault | What is done | Injected | Verdicts | Wrong |", "|---|---|---:|---|---:|"]
    for nemesis in NEMESES:
        done = [row for row in by_name[nemesis.name] if row["injected"]]
        if done:
            outcomes = Counter("nothing run" if row["outcome"] == "none" else row["outcome"] for row in done)
            verdicts = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
            wrong = sum(bool(row["problems"]) for row in done)
            lines.append(f"| {nemesis.name} | {nemesis.does} | {len(done)} | {verdicts} | {wrong} |")
    injected = [row for row in rows if row["injected"]]
    wrong = sum(bool(row["problems"]) for row in injected)
    lines.append(f"| **all** | | **{len(injected)}** | | **{wrong}** |")
    return "\n".join(lines)


def write_into(page: Path, name: str, words: str) -> None:
    """Replace the results between a page's marks."""
    marks = rf"(<!-- results: {name} -->\n).*?(\n<!-- end -->)"
    text, count = re.subn(marks, lambda m: m[1] + words + m[2], page.read_text(), flags=re.DOTALL)
    assert count == 1, f"{page} has no mark for {name}"
    page.write_text(text)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(code)
