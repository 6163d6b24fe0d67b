"""Run the benchmarks, append their results to benchmarks/results/, and write their tables into docs/performance.md.

    python benchmarks/run.py [--full] [NAME ...]

The short form takes at most eight minutes in total, without `size`, which must be named. The full form continues where
an earlier one stopped.
"""

from __future__ import annotations

import argparse
import importlib
import time

import lab
import page

NAMES = (
    "probe_cost",
    "throughput",
    "sampler_cost",
    "detection",
    "detectors",
    "long_recording",
    "no_difference",
    "size",
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all but size")
    options.add_argument("--full", action="store_true", help="all repetitions; continues where an earlier run stopped")
    options.add_argument("--no-keep", action="store_true", help="only print the results: append and write nothing")
    given = options.parse_args()
    unknown = set(given.names) - set(NAMES)
    if unknown:
        options.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    for name in given.names or (NAMES if given.full else NAMES[:-1]):
        began = time.monotonic()
        measure = importlib.import_module(name).measure
        for count, row in enumerate(measure(given.full, lab.load(name)), 1):
            if not given.no_keep:
                lab.append(name, row)
            print(f"{name} {count}: {shown(row)} ({time.monotonic() - began:.0f} s)", flush=True)
    if not given.no_keep:
        page.write()


def shown(row: lab.Row) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )


if __name__ == "__main__":
    main()
