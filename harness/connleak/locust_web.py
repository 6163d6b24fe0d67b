"""The live part of the Locust plug-in: the sampling process, its reports, Locust's page and exports."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import gevent
import msgspec

from connleak.model.errors import Error
from connleak.model.outcomes import OUTCOMES
from connleak.model.verdict import HolderRow, Verdict
from connleak.recording import reader
from connleak.render.charts.style import COLOURS
from connleak.render.holder_table import LIVE as COLUMNS
from connleak.render.holder_table import Column
from connleak.render.page import filled
from connleak.render.sanitize import harmless
from connleak.render.series import STATES, by_category

KEY = "connections"
TITLE = "Connections"
KEPT = 20_000
"""Moments that are kept for the page and the exports."""
DRAWN = 600
"""Moments that the chart shows."""
SMOOTH = 11
"""Moments over which the request rate is averaged: one second."""
MOST_HOLDERS = 50
"""Rows of the tab's table."""
LOCUST_KEYS = {"site": "name"}
"""Keys that Locust's page needs: it identifies a row by its `name`."""
SCRIPT = Path(__file__).parent / "render" / "templates" / "locust_tab.js"


class Live:
    """The recording of a Locust run: a child process samples and judges; this object tells it about the load."""

    def __init__(self, environment: Any, web_ui: Any) -> None:
        self.environment = environment
        self.history: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.last: dict[str, Any] = {}
        self.child = start(environment.parsed_options)
        first = self.read()
        if first is None:
            code = self.child.wait()
            raise SystemExit(code or 4)  # the child has printed the error
        self.folder, self.origin = Path(first["folder"]), float(first["origin"])
        gevent.spawn(self.listen)
        environment.events.test_start.add_listener(lambda **_: self.send("load"))
        environment.events.test_stop.add_listener(lambda **_: self.send("stop"))
        environment.events.quitting.add_listener(self.finish)
        if web_ui:
            add_tab(web_ui, self)

    def read(self) -> dict[str, Any] | None:
        """Return the child's next report; None once it has ended."""
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        return json.loads(line) if line else None

    def send(self, command: str) -> None:
        """Send a command to the child; a child that has ended reports the reason in its verdict."""
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps({"do": command}).encode() + b"\n")
            self.child.stdin.flush()
        except OSError:
            pass

    def listen(self) -> None:
        """Store the child's report of each moment with the request rate."""
        counts: deque[tuple[float, int]] = deque(maxlen=SMOOTH)
        while (now := self.read()) is not None:
            counts.append((now["t"], self.environment.runner.stats.total.num_requests))
            (before, least), (t, most) = counts[0], counts[-1]
            rate = max(0, most - least) / (t - before) if t > before else 0.0
            self.last = now
            moment = {"t": now["t"], "rate": round(rate, 1), "phase": now["phase"]}
            self.history.append(moment | by_category(now["states"]))

    def finish(self, **_: Any) -> None:
        """Let the child end and judge the recording; set the exit code and add to Locust's exports."""
        self.send("quit")
        code = self.child.wait()
        try:
            verdict = reader.read_json(self.folder / "verdict.json", Verdict, f"connleak judge {self.folder}")
        except Error as error:
            print(f"connleak: {harmless(error.message)}", file=sys.stderr)
            self.environment.process_exit_code = self.environment.process_exit_code or code
            return
        answer = harmless(f"{verdict.outcome.upper()}: {verdict.sentence}")
        print(f"\nconnleak: {answer}\n  report: {self.folder}/report.html")
        if OUTCOMES[verdict.outcome].exit_code == 1:
            self.environment.process_exit_code = 1
        export(self.environment.parsed_options, self, verdict)

    def moments(self, most: int) -> list[dict[str, Any]]:
        """Return the stored moments downsampled to at most `most`: of each interval the one with most sessions."""
        rows = list(self.history)
        size = -(-len(rows) // most) if rows else 1
        return [
            max(rows[i : i + size], key=lambda row: sum(row[state] for state in STATES))
            for i in range(0, len(rows), size)
        ]


def start(options: Any) -> subprocess.Popen[bytes]:
    """Start the sampling process in a session of its own, so that Ctrl-C reaches only Locust."""
    argv = [sys.executable, "-P", "-m", "connleak", "watch", "--follow", "stdin", "--every", "0.1"]
    for option, value in (
        ("--out", options.connleak_out),
        ("--listen", options.connleak_listen),
        ("--max-idle", options.connleak_max_idle),
        ("--allow-remote", options.connleak_allow_remote),
        ("--users", str(options.num_users or 1)),
    ):
        argv += [option, value] if value else []
    environment = {**os.environ, "DATABASE_URL": options.connleak_db}
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return the moments as CSV: t in seconds, phase, requests per second, sessions by state."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["t", "phase", "rate", *STATES])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def export(options: Any, live: Live, verdict: Verdict) -> None:
    """Write the sessions and the verdict beside Locust's own exports, and a section into its HTML report."""
    if options.csv_prefix:
        Path(f"{options.csv_prefix}_connections.csv").write_text(as_csv(list(live.history)), encoding="utf-8")
    if options.json_file:
        data = (live.folder / "verdict.json").read_text(encoding="utf-8")
        Path(f"{options.json_file}_connections.json").write_text(data, encoding="utf-8")
    page = Path(options.html_file) if options.html_file else None
    if page is not None and page.exists():
        page.write_text(before_end(page.read_text(encoding="utf-8"), section(live.folder, verdict)), encoding="utf-8")


def before_end(page: str, more: str) -> str:
    """Return a page with more before its last `</body>`: scripts may contain the same text earlier."""
    head, end, tail = page.rpartition("</body>")
    return f"{head}{more}{end}{tail}" if end else page + more


def section(folder: Path, verdict: Verdict) -> str:
    """Return the section of Locust's HTML report on connections: the verdict, its lines, the chart."""
    path = folder / "growth.svg"
    chart = path.read_text(encoding="utf-8") if path.exists() else ""
    return filled("locust_section.html", verdict=verdict, chart=chart, report=str(folder / "report.html"))


def add_tab(web_ui: Any, live: Live) -> None:
    """Add the tab to Locust's page, its table by Locust's hooks and its chart by a script, and a page of its own."""
    web_ui.app.register_blueprint(routes(web_ui, live), url_prefix=base_path(web_ui))
    extend(web_ui.template_args, "extended_tabs", {"title": TITLE, "key": KEY})
    structure = [{"key": LOCUST_KEYS.get(column.key, column.key), "title": title_of(column)} for column in COLUMNS]
    extend(web_ui.template_args, "extended_tables", {"key": KEY, "structure": structure})
    download = {"href": "./connleak/connections.csv", "title": "Download connections CSV"}
    extend(web_ui.template_args, "extended_csv_files", download)
    web_ui.app.after_request(lambda response: with_connections(response, live))


def base_path(web_ui: Any) -> str | None:
    """Return the prefix of Locust's own routes, which --web-base-path sets."""
    blueprint = web_ui.app.blueprints.get("locust")
    return blueprint.url_prefix if blueprint else None


def extend(template_args: dict[str, Any], name: str, row: dict[str, Any]) -> None:
    """Add a row to one of the lists by which Locust's page is extended."""
    template_args[name] = [*template_args.get(name, []), row]


def routes(web_ui: Any, live: Live) -> Any:
    """Return the routes below /connleak/: the page, its script, its data, and the data as CSV."""
    from flask import Blueprint, Response, jsonify

    blueprint = Blueprint("connleak", __name__)

    def data() -> Any:
        states = [(state, COLOURS[state]) for state in STATES]
        rows = live.moments(DRAWN)
        return jsonify({"limit": live.last.get("limit", 0), "states": states, "rows": rows, "holders": rows_of(live)})

    def script() -> Any:
        return Response(SCRIPT.read_text(encoding="utf-8"), mimetype="application/javascript")

    def download() -> Any:
        headers = {"Content-Disposition": "attachment;filename=connections.csv"}
        return Response(as_csv(list(live.history)), mimetype="text/csv", headers=headers)

    def page() -> str:
        return filled("locust_page.html")

    protected = web_ui.auth_required_if_enabled
    blueprint.add_url_rule("/connleak/data", "data", protected(data))
    blueprint.add_url_rule("/connleak/chart.js", "script", script)
    blueprint.add_url_rule("/connleak/connections.csv", "download", protected(download))
    blueprint.add_url_rule("/connleak/", "page", protected(page))
    return blueprint


def with_connections(response: Any, live: Live) -> Any:
    """Return Locust's response with the holder table in its statistics, or with the script in its page."""
    from flask import request

    if request.path.endswith("/stats/requests") and response.is_json:
        stats = response.get_json()
        stats["extended_stats"] = [*stats.get("extended_stats", []), {"key": KEY, "data": rows_of(live)}]
        response.set_data(json.dumps(stats))
    elif response.mimetype == "text/html" and 'id="root"' in (text := response.get_data(as_text=True)):
        response.set_data(before_end(text, '<script src="./connleak/chart.js"></script>'))
    return response


def title_of(column: Column) -> str:
    """Return a column's title with the unit of its values."""
    return f"{column.title} ({column.unit})" if column.unit else column.title


def rows_of(live: Live) -> list[dict[str, Any]]:
    """Return the rows of the tab's table: the checked-out sessions as the probes last reported them."""
    rows = msgspec.convert(live.last.get("holders", [])[:MOST_HOLDERS], list[HolderRow])
    return [{LOCUST_KEYS.get(column.key, column.key): column.value(row) for column in COLUMNS} for row in rows]
