"""The live side of the Locust plug-in: the process that samples, what it said, Locust's page, and its exports."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec

from connleak.model.errors import Error
from connleak.model.verdict import HolderRow, Verdict, worker_of
from connleak.recording import reader
from connleak.render.sanitize import harmless
from connleak.render.series import STATES, by_category

KEY = "connections"
TITLE = "Connections"
KEPT = 20_000
"""Moments that are kept for the page."""
DRAWN = 600
SMOOTH = 11
"""Moments over which the rate of requests is taken: a second of them."""
COLUMNS = (
    ("name", "taken at"),
    ("session", "session"),
    ("held", "held, s"),
    ("state", "state"),
    ("by", "by"),
    ("now", "now at"),
)
SCRIPT = Path(__file__).parent / "render" / "templates" / "locust_tab.js"


class Live:
    """The recording of a Locust run: a child samples and judges it, this tells it when the load begins and ends."""

    def __init__(self, environment: Any, web_ui: Any) -> None:
        self.environment = environment
        self.history: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.last: dict[str, Any] = {}
        self.child = start(environment.parsed_options)
        first = self.read()
        if first is None:
            code = self.child.wait()
            raise SystemExit(code or 4)  # it has said why
        self.folder, self.origin = Path(first["folder"]), float(first["origin"])
        gevent.spawn(self.listen)
        environment.events.test_start.add_listener(lambda **_: self.say("load"))
        environment.events.test_stop.add_listener(lambda **_: self.say("stop"))
        environment.events.quitting.add_listener(self.finish)
        if web_ui:
            add_tab(web_ui, self)

    def read(self) -> dict[str, Any] | None:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        return json.loads(line) if line else None

    def say(self, word: str) -> None:
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps({"do": word}).encode() + b"\n")
            self.child.stdin.flush()
        except OSError:
            pass  # it has ended; its verdict says so

    def listen(self) -> None:
        """Keeps what the child says of each moment, with the rate of requests beside it."""
        counts: deque[tuple[float, int]] = deque(maxlen=SMOOTH)
        while (now := self.read()) is not None:
            counts.append((now["t"], self.environment.runner.stats.total.num_requests))
            (before, least), (t, most) = counts[0], counts[-1]
            rate = max(0, most - least) / (t - before) if t > before else 0.0
            self.last = now
            moment = {"t": now["t"], "rate": round(rate, 1), "phase": now["phase"]}
            self.history.append(moment | by_category(now["states"]))

    def finish(self, **_: Any) -> None:
        """Has the child end the recording and judge it; sets the exit code and adds to Locust's exports."""
        self.say("quit")
        code = self.child.wait()
        try:
            verdict = reader.read_json(self.folder / "verdict.json", Verdict, f"connleak judge {self.folder}")
        except Error as error:
            print(f"connleak: {harmless(error.message)}", file=sys.stderr)
            self.environment.process_exit_code = self.environment.process_exit_code or code
            return
        said = harmless(f"{verdict.outcome.upper()}: {verdict.sentence}")
        print(f"\nconnleak: {said}\n  report: {self.folder}/report.html")
        if verdict.outcome in ("leak", "fault"):
            self.environment.process_exit_code = 1
        export(self.environment.parsed_options, self, verdict)

    def moments(self, most: int) -> list[dict[str, Any]]:
        """Returns what was said, thinned to so many moments; of those left out the highest stays."""
        rows = list(self.history)
        size = -(-len(rows) // most) if rows else 1
        return [
            max(rows[i : i + size], key=lambda row: sum(row[state] for state in STATES))
            for i in range(0, len(rows), size)
        ]


def start(options: Any) -> subprocess.Popen[bytes]:
    """Starts the process that samples: in a session of its own, so that Ctrl-C reaches Locust alone."""
    argv = [sys.executable, "-P", "-m", "connleak", "watch", "--follow", "stdin", "--every", "0.1"]
    for option, value in (
        ("--out", options.connleak_out),
        ("--listen", options.connleak_listen),
        ("--budget", options.connleak_budget),
        ("--allow-remote", options.connleak_allow_remote),
        ("--users", str(options.num_users or 1)),
    ):
        argv += [option, value] if value else []
    environment = {**os.environ, "DATABASE_URL": options.connleak_db}
    return subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Returns the moments as a table: t in seconds, requests a second, sessions by state."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["t", "phase", "rate", *STATES])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def export(options: Any, live: Live, verdict: Verdict) -> None:
    """Writes beside Locust's own exports what they have of the connections, and into its page."""
    if options.csv_prefix:
        Path(f"{options.csv_prefix}_connections.csv").write_text(as_csv(list(live.history)), encoding="utf-8")
    if options.json_file:
        data = (live.folder / "verdict.json").read_text(encoding="utf-8")
        Path(f"{options.json_file}_connections.json").write_text(data, encoding="utf-8")
    page = Path(options.html_file) if options.html_file else None
    if page is not None and page.exists():
        page.write_text(before_end(page.read_text(encoding="utf-8"), section(live.folder, verdict)), encoding="utf-8")


def before_end(page: str, more: str) -> str:
    """Returns a page with more at the end of its body: the last one, for scripts have the words in them, too."""
    head, end, tail = page.rpartition("</body>")
    return f"{head}{more}{end}{tail}" if end else page + more


def section(folder: Path, verdict: Verdict) -> str:
    """Returns the part of Locust's HTML report that tells of the connections: the verdict, and the chart."""
    chart = folder / "growth.svg"
    drawn = chart.read_text(encoding="utf-8") if chart.exists() else ""
    sites = "".join(
        f"<li><code>{html.escape(str(found.sites[0]))}</code></li>" for found in verdict.findings if found.sites
    )
    return (
        '<section id="connleak" style="max-width:1100px;margin:2em auto;padding:1em;font-family:sans-serif;'
        'background:#fff;color:#222"><h2>Connections</h2>'
        f"<p><b>{verdict.outcome.upper()}</b> {html.escape(verdict.sentence)}</p><ul>{sites}</ul>{drawn}"
        f"<p>The whole report: {html.escape(str(folder / 'report.html'))}</p></section>"
    )


def add_tab(web_ui: Any, live: Live) -> None:
    """Adds the tab to Locust's page: its table by Locust's own hooks, the chart by a script; and a page of its own."""
    from flask import Blueprint, jsonify, make_response, request

    ours = Blueprint("connleak", __name__)

    @web_ui.auth_required_if_enabled
    def data() -> Any:
        limit = live.last.get("limit", 0)
        return jsonify({"limit": limit, "states": list(STATES), "rows": live.moments(DRAWN), "holders": rows_of(live)})

    def script() -> Any:
        answer = make_response(SCRIPT.read_text(encoding="utf-8"))
        answer.headers["Content-Type"] = "application/javascript"
        return answer

    @web_ui.auth_required_if_enabled
    def download() -> Any:
        answer = make_response(as_csv(list(live.history)))
        answer.headers["Content-Type"] = "text/csv"
        answer.headers["Content-Disposition"] = "attachment;filename=connections.csv"
        return answer

    @web_ui.auth_required_if_enabled
    def page() -> str:
        return (
            '<!doctype html><meta charset="utf-8"><title>Connections</title><body style="font-family:sans-serif">'
            '<h1>Connections</h1><div id="connleak-alone"></div><script src="./chart.js"></script></body>'
        )

    routes: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("data", data),
        ("chart.js", script),
        ("connections.csv", download),
        ("", page),
    )
    for rule, answer in routes:
        ours.add_url_rule(f"/connleak/{rule}", answer.__name__, answer)
    theirs = web_ui.app.blueprints.get("locust")  # --web-base-path is its prefix
    web_ui.app.register_blueprint(ours, url_prefix=theirs.url_prefix if theirs else None)
    web_ui.template_args.update(
        extended_tabs=[*web_ui.template_args.get("extended_tabs", []), {"title": TITLE, "key": KEY}],
        extended_tables=[
            *web_ui.template_args.get("extended_tables", []),
            {"key": KEY, "structure": [{"key": key, "title": title} for key, title in COLUMNS]},
        ],
        extended_csv_files=[
            *web_ui.template_args.get("extended_csv_files", []),
            {"href": "./connleak/connections.csv", "title": "Download connections CSV"},
        ],
    )

    @web_ui.app.after_request
    def extend(response: Any) -> Any:
        if request.path.endswith("/stats/requests") and response.is_json:
            stats = response.get_json()
            stats["extended_stats"] = [*stats.get("extended_stats", []), {"key": KEY, "data": rows_of(live)}]
            response.set_data(json.dumps(stats))
        elif response.mimetype == "text/html" and 'id="root"' in (text := response.get_data(as_text=True)):
            response.set_data(before_end(text, '<script src="./connleak/chart.js"></script>'))
        return response


def rows_of(live: Live) -> list[dict[str, Any]]:
    """Returns the rows of the tab's table: who has what, as the probes said it last."""
    rows = msgspec.convert(live.last.get("holders", [])[:50], list[HolderRow])
    return [
        {
            "name": str(row.site or "no line of the app"),
            "session": row.backend,
            "held": row.held_for,
            "state": row.state or "",
            "by": worker_of(row),
            "now": str(row.now or ""),
        }
        for row in rows
    ]
