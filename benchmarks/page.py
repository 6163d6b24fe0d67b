"""benchmarks/results/*.jsonl -> the tables of docs/performance.md, each between its marks."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import lab

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def write() -> None:
    """Write every table again."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        rows = lab.load(name)
        shown = table(rows) + "\n\n" + measured(rows) if rows else "Not measured yet."
        pattern = rf"(<!-- results: {name} -->\n).*?(\n<!-- end -->)"
        text, count = re.subn(pattern, lambda m, shown=shown: m[1] + shown + m[2], text, flags=re.DOTALL)
        assert count == 1, f"{PAGE} has no mark for {name}"
    PAGE.write_text(text, encoding="utf-8")


def measured(rows: list[lab.Row]) -> str:
    commits = sorted({row["commit"] for row in rows})
    first, last = min(row["at"] for row in rows), max(row["at"] for row in rows)
    return (
        f"*{len(rows)} results, {first} to {last}, {rows[-1]['cores']} cores, Python {rows[-1]['python']}, "
        f"commit {', '.join(commits)}.*"
    )


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def select(rows: list[lab.Row], key: str, **wanted: object) -> list[float]:
    return [row[key] for row in rows if key in row and all(row.get(name) == value for name, value in wanted.items())]


def middle(rows: list[lab.Row], key: str, **wanted: object) -> float | None:
    found = select(rows, key, **wanted)
    return statistics.median(found) if found else None


def probe_cost(rows: list[lab.Row]) -> str:
    """Return the cost above that without a probe, in microseconds: of the fastest blocks, and of all pairs."""
    ways = ("probe", "OpenTelemetry", "echo_pool", "extract_stack")
    table = []
    for version in ("1.4.54", "2.0.58", "2.1.9"):
        for depth in (6, 32):
            here = {"sqlalchemy": version, "depth": depth}
            bases = {key: middle(rows, key, way="no probe", **here) for key in ("best", "mean")}
            cells = []
            for way in ways:
                found = {key: middle(rows, key, way=way, **here) for key in ("best", "mean")}
                above = [found[key] - bases[key] for key in ("best", "mean") if found[key] and bases[key]]
                cells.append(f"+{above[0]:.1f} (+{above[1]:.1f})" if len(above) == 2 else "refuses 2.1")
            table.append([f"{version}, {depth + 8} frames", f"{bases['best']:.1f} ({bases['mean']:.1f})", *cells])
    return markdown(["SQLAlchemy, walk", "no probe", *ways], table)


def throughput(rows: list[lab.Row]) -> str:
    """Return the ratio on / off of each figure with its interval."""
    table = []
    pairs = sorted({row["pair"] for row in rows})
    by = {(row["pair"], row["way"]): row for row in rows}
    whole = [pair for pair in pairs if (pair, "on") in by and (pair, "off") in by]
    for key, title in (("rate", "requests a second"), ("p50", "median time"), ("p99", "99th percentile")):
        on, off = ([by[pair, way][key] for pair in whole] for way in ("on", "off"))
        value, low, high = lab.ratio(on, off)
        unit = "/s" if key == "rate" else " ms"
        figures = [f"{statistics.median(side):.1f}{unit}" for side in (on, off)]
        table.append([title, *figures, f"{value:.3f}", f"{low:.3f} to {high:.3f}"])
    return markdown(["", "on", "off", f"on / off ({len(whole)} pairs)", "95 %"], table)


def sampler_cost(rows: list[lab.Row]) -> str:
    table = []
    for sessions in (10, 100, 500, 2000):
        cells = []
        totals = []
        for way in ("connleak", "pg_activity"):
            here = {"sessions": sessions, "way": way}
            client, server = middle(rows, "client_ms", **here), middle(rows, "server_ms", **here)
            memory = middle(rows, "memory_mb", **here)
            if client is None or server is None:
                return "Not completely measured yet."
            totals.append(client + server)
            cells.append(f"{client:.1f} + {server:.1f} ms, {memory:.0f} MB")
        table.append([f"{sessions} sessions", *cells, f"{totals[0] / totals[1]:.2f}"])
    found = {way: select(rows, "listed", way=way, of=200) for way in ("connleak", "pg_activity")}
    lists = "; ".join(
        f"{way} lists {min(counts)} of 200 leaked idle sessions" for way, counts in found.items() if counts
    )
    head = ["", "connleak: client + server, memory", "pg_activity 3.6.2", "ratio of the sums"]
    return markdown(head, table) + f"\n\n{lists}."


def detection(rows: list[lab.Row]) -> str:
    table = []
    for one_in in (100, 1000, 10000):
        runs = [row for row in rows if row.get("one_in") == one_in]
        if not runs:
            continue
        leaked = [row for row in runs if row["kept"]]
        leaks = sum(row["outcome"] == "leak" for row in leaked)
        wrong = sum(row["outcome"] == "leak" for row in runs) - leaks
        seconds, requests = sorted(select(runs, "seconds")), sorted(select(runs, "requests"))
        bound = statistics.fmean(1 - (1 - 1 / one_in) ** count for count in requests)
        table.append(
            [
                f"1 in {one_in}",
                f"{leaks} of {len(leaked)}",
                f"{wrong} of {len(runs) - len(leaked)}",
                f"{len(leaked)} of {len(runs)}",
                f"{100 * bound:.1f} %",
                f"{statistics.median(seconds):.0f} s ({seconds[0]:.0f} to {seconds[-1]:.0f})",
                f"{statistics.median(requests):.0f} ({requests[0]} to {requests[-1]})",
                f"{3 * one_in}",
            ]
        )
    head = [
        "leak",
        "detected in runs that leaked",
        "reported in others",
        "runs that leaked",
        "bound 1-(1-p)^n",
        "time to the verdict",
        "requests until then",
        "3/p",
    ]
    runs = [row for row in rows if "variant" in row]
    false = [row for row in runs if row["outcome"] == "leak"]
    other = [row for row in runs if row["outcome"] not in ("leak", row["expect"])]
    summary = f"Runs of variants that do not leak: {len(runs)}, reported as a leak: {len(false)}"
    summary += "".join(f" ({row['variant']})" for row in false)
    summary += f"; {len(other)} ended with another outcome than expected" + "".join(
        f" ({row['variant']}: {row['outcome']})" for row in other[:5]
    )
    if runs and not false:
        summary += f".\nNone in {len(runs)} bounds the rate of false alarms below {300 / len(runs):.1f} % (95 %)"
    return markdown(head, table) + f"\n\n{summary}."


def detectors(rows: list[lab.Row]) -> str:
    leaking = [row for row in rows if row["expect"] == "leak"]
    others = [row for row in rows if row["expect"] != "leak"]
    table = []
    for name in ("connleak", "hold 2 s", "hold 30 s", "OTel gauge", "warnings", "counting"):
        if name == "connleak":
            seen = [row["seconds"] for row in leaking if row["connleak"] == "leak"]
            false = sum(row["connleak"] == "leak" for row in others)
        else:
            seen = [row[name] for row in leaking if row[name] is not None]
            false = sum(row[name] is not None for row in others)
        time = f"{statistics.median(seen):.1f} s" if seen else ""
        table.append([name, f"{len(seen)} of {len(leaking)}", f"{false} of {len(others)}", time])
    return markdown(["detector", "leaks detected", "false alarms", "median time"], table)


def long_recording(rows: list[lab.Row]) -> str:
    """Return the medians over all measurements, in the order of drawing."""
    names = dict.fromkeys(row["what"] for row in rows)
    table = []
    for name in names:
        seconds, size = middle(rows, "seconds", what=name) or 0.0, middle(rows, "megabytes", what=name) or 0.0
        table.append([name, f"{seconds:.1f} s", f"{size:.1f} MB" if size else ""])
    return markdown(["", "time", "size"], table)


def no_difference(rows: list[lab.Row]) -> str:
    table = []
    for name in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == name]
        total, wrong = sum(row["comparisons"] for row in mine), sum(row["different"] for row in mine)
        share = f"{100 * (1 - wrong / total):.1f} %" if total else ""
        table.append([name, str(len(mine)), str(total), f"{total - wrong}", share])
    return markdown(["variant", "runs", "comparisons with itself", "no difference", ""], table)


def size(rows: list[lab.Row]) -> str:
    """Return each cost at its sizes with the exponent of its growth; draw them into docs/size.svg."""
    import size as measured_size

    latest = {(row["what"], row["size"]): row for row in rows}
    (PAGE.parent / "size.svg").write_text(measured_size.drawn(list(latest.values())), encoding="utf-8")
    table = []
    for what, title in measured_size.COSTS.items():
        mine = [row for (name, _), row in sorted(latest.items()) if name == what]
        if mine:
            cells = [f"{row['size']}: {shown_cost(row)}" for row in mine]
            table.append([f"{what}, {title}", "; ".join(cells), f"{measured_size.exponent(mine, 'seconds'):.2f}"])
    return markdown(["", "size: cost, memory above an empty process, on disk", "exponent"], table)


def shown_cost(row: lab.Row) -> str:
    seconds = f"{1000 * row['seconds']:.0f} ms" if row["seconds"] < 1 else f"{row['seconds']:.1f} s"
    disk = f", {row['megabytes']:.1f} MB" if "megabytes" in row else ""
    return f"{seconds}, {row['memory_mb']:.0f} MB{disk}"


TABLES: dict[str, Callable[[list[lab.Row]], str]] = {
    "probe_cost": probe_cost,
    "throughput": throughput,
    "sampler_cost": sampler_cost,
    "detection": detection,
    "detectors": detectors,
    "long_recording": long_recording,
    "no_difference": no_difference,
    "size": size,
}


if __name__ == "__main__":
    write()
