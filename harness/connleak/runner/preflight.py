"""Checks of a user's app in the first cycle: it answers without errors, and its sessions are on this server."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from connleak.judging.audit import short_sessions
from connleak.judging.facts import Facts
from connleak.model.errors import Unusable
from connleak.recording import reader
from connleak.runner.session import Session

TOO_MANY_ERRORS = 0.2
"""The share of server errors among the first responses above which the app does not work."""
FEWEST = 10
"""Responses below which the share means nothing."""
LONGEST_TRACEBACK = 30
"""Lines of the app's first traceback that an error shows."""


def answers_without_errors(session: Session) -> None:
    """Raise Unusable if the app does not work."""
    need_answers(session.folder)


def sessions_are_on_this_server(session: Session) -> None:
    """Raise Unusable if the app has answered requests and opened no session on the server."""
    requests = session.load.status.requests
    if requests and not saw_sessions(session.folder):
        where = where_instead(session)
        raise Unusable(
            f"{requests} requests were answered, and your app opened no session on this server; {where}",
            "connleak run ... --env NAME='{url}', with the name of the variable that your app reads",
            exit_code=4,
        )


def need_answers(folder: Path) -> None:
    """Raise Unusable with the app's first traceback if too many of its first responses are server errors."""
    rows = [line for line in (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines() if line]
    failed = sum(bool(re.search(r'"error": ?"[^"]*\b5\d\d\b', row)) for row in rows)
    if len(rows) < FEWEST or failed <= TOO_MANY_ERRORS * len(rows):
        return
    lines = first_traceback(folder / "app.log")
    shown = "\n".join(f"    {line}" for line in lines) or "    (app.log has no traceback)"
    raise Unusable(
        f"{failed} of the first {len(rows)} responses are server errors; the app's first traceback:\n{shown}",
        f"less {folder / 'app.log'}, then --setup, --sql or --env for what is missing",
        exit_code=4,
    )


def first_traceback(log: Path) -> list[str]:
    """Return the lines of the first traceback in a log, only its last ones if it is long."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    begin = next((n for n, line in enumerate(lines) if "Traceback (most recent call last)" in line), None)
    if begin is None:
        return []
    end = begin + 1
    while end < len(lines) and (lines[end].startswith((" ", "\t")) or not lines[end].strip()):
        end += 1
    return lines[begin : end + 1][-LONGEST_TRACEBACK:]


def saw_sessions(folder: Path) -> bool:
    """Return whether the server has shown a session of the app, or counted one too short to be sampled."""
    facts = Facts(reader.read(folder))
    return short_sessions(facts) > 0 or any(sample.backends for sample in facts.recording.samples)


def where_instead(session: Session) -> str:
    """Return a clause on the other servers that the app's sockets are connected to."""
    app = set(session.app.processes())
    known = {session.server.port, *(int(port) for port in re.findall(r":(\d+)", session.plan.url))}
    peers = {
        f"{connection.raddr.ip}:{connection.raddr.port}"
        for connection in psutil.net_connections("tcp")
        if connection.pid in app
        and connection.raddr
        and connection.raddr.port not in known
        and not (connection.laddr and connection.laddr.port in known)
    }
    if not peers:
        return "it has no socket to any other server"
    return f"its sockets go to {', '.join(sorted(peers)[:3])}"
