"""Faults of the load: bad locustfiles, and lost processes of Locust."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from support.nemeses.arena import Arena, Nemesis

LOCUSTFILE = """
import random, sys, time
from locust import HttpUser, constant, task
{first}
asked = []


class Shopper(HttpUser):
    wait_time = constant(0.01)

    @task
    def look(self):
        asked.append(1)
        {each}
"""
GET = "self.client.get('/')"
LOST = r"Locust.*(ended|was ended)|sent no message|did not stop|no request was sent"


def start(arena: Arena, first: str = "", each: str = GET, *words: str) -> None:
    path = arena.folder / "shoppers.py"
    path.write_text(LOCUSTFILE.format(first=first, each=each))
    arena.start_target("--locustfile", str(path), *words)


def raises_at_import(arena: Arena) -> None:
    arena.row.phase = "start"
    why = arena.random.choice(("raise ValueError('mine')", "import no_such_module", "sys.exit(3)", "def ("))
    arena.row.facts["why"] = why
    start(arena, why)


def raises_in_a_task(arena: Arena) -> None:
    arena.row.phase = "load"
    share = arena.between(0.05, 1.0, "share")
    when = arena.random.choice((f"{GET}; ", ""))
    start(arena, "", f"{when}random.random() < {share} and 1 / 0" + ("" if when else f"; {GET}"))


def never_requests(arena: Arena) -> None:
    arena.row.phase = "load"
    start(arena, "", arena.random.choice(("pass", "time.sleep(0.1)", "raise ValueError('mine')")))


def stops_early(arena: Arena) -> None:
    arena.row.phase = "load"
    at = int(arena.between(1, 800, "request"))
    how = arena.random.choice(("self.environment.runner.quit()", "sys.exit(0)", "self.environment.runner.stop()"))
    arena.row.facts["how"] = how
    start(arena, "", f"{GET}; len(asked) == {at} and {how}")


def blocks(arena: Arena) -> None:
    """A task blocks all of Locust, as one does that waits without gevent."""
    arena.row.phase = "load"
    seconds = arena.between(0.5, 6.0)
    first = "from gevent.monkey import get_original\nsleep = get_original('time', 'sleep')"
    start(arena, first, f"{GET}; len(asked) == {int(arena.between(1, 500, 'request'))} and sleep({seconds:.2f})")


def killed(arena: Arena) -> None:
    arena.start_target()
    arena.moment("baseline", "load", "load", "drain", "rest", "quiet")
    arena.kill(arena.find(r"locust_guard")[0], signal.SIGKILL)


def hung(arena: Arena) -> None:
    arena.start_target()
    arena.moment("load", "rest")
    generator = arena.find(r"locust_guard")[0]
    arena.kill(generator, signal.SIGSTOP)
    for_good = arena.random.random() < 0.3
    arena.row.facts["for good"] = for_good
    if not for_good:
        time.sleep(arena.between(0.3, 8.0))
        arena.kill(generator, signal.SIGCONT)


def worker_lost(arena: Arena) -> None:
    arena.start_target("--workers", "2")
    arena.moment("load", "load", "drain", "rest", "quiet")
    victim = arena.random.choice(arena.find(r"locust_guard"))
    arena.row.facts["master"] = "--master" in victim.cmdline()
    arena.kill(victim, signal.SIGKILL)


def log_is_lost(arena: Arena) -> None:
    """The request log is removed while Locust writes it: later lines are lost."""
    arena.start_target()
    arena.moment("load")
    Path(arena.out / "requests.jsonl").unlink()


LOAD = (
    Nemesis(
        "locustfile-raises",
        "load",
        "at its import",
        raises_at_import,
        "Locust ended with exit code.*before it was ready",
        must="none",
    ),
    Nemesis(
        "task-raises",
        "load",
        "a twentieth to all of the tasks, before or after their request",
        raises_in_a_task,
        "no request was sent",
    ),
    Nemesis(
        "never-requests",
        "load",
        "users that send no request",
        never_requests,
        "no request was sent",
        must="inconclusive",
    ),
    Nemesis("load-stops-early", "load", "a task ends the load, or all of Locust", stops_early, LOST),
    Nemesis("load-blocks", "load", "a task stops all of Locust for up to six seconds", blocks, LOST + "|waited"),
    Nemesis("generator-killed", "load", "kill -9 of Locust", killed, LOST),
    Nemesis(
        "generator-hung", "load", "SIGSTOP to Locust, for up to eight seconds or for good", hung, LOST + "|too long"
    ),
    Nemesis("worker-lost", "load", "kill -9 of one of two workers, or of their master", worker_lost, LOST),
    Nemesis("request-log-lost", "load", "the log of requests is removed under load", log_is_lost, LOST + "|requests"),
)
