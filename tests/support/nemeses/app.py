"""Faults of the app: a small shop behind gunicorn or Werkzeug's own server, with one bad habit each."""

from __future__ import annotations

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from connleak.processes.ports import free_port

from support.nemeses.arena import Arena, Nemesis

SHOP = """
import os, signal, sys, time
{first}
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])
Session = scoped_session(sessionmaker(engine))
served = []


@app.get("/")
def index():
    served.append(1)
    {each}
    return str(Session.scalar(text("SELECT 1")))


@app.teardown_appcontext
def tidy_up(error):
    if {fixed}:
        Session.remove()


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), threaded=True)
"""
GONE = r"ended with exit code|was ended by|requests? failed|gone|ended"
TWO = ("-w", "2", "-k", "gthread", "--threads", "8", "--no-control-socket")
UNTIL_READY = "before it was ready|to become ready|cannot be started|in use"
CLOSE_PROBES = """
    if len(served) == {at}:
        import socket
        for name in os.listdir("/proc/self/fd"):
            try:
                line = socket.socket(fileno=os.dup(int(name)))
                family = line.family
                line.close()
                if family == socket.AF_UNIX:
                    os.close(int(name))
            except OSError:
                pass
"""


def start(
    arena: Arena, *words: str, first: str = "", each: str = "", port: int = 0, server: str = "gunicorn", **how: object
) -> int:
    """Start a run of the shop, with lines that run when it is imported and at each request; return its port."""
    port = port or free_port()
    code = SHOP.format(first=first, each=each.strip() or "pass", fixed=arena.variant == "fixed")
    (arena.folder / "shop.py").write_text(code)
    arena.folder.chmod(0o755)
    gunicorn = " ".join(
        [str(Path(sys.executable).with_name("gunicorn")), *TWO, *words, f"-b 127.0.0.1:{port} shop:app"]
    )
    command = gunicorn if server == "gunicorn" else f"{sys.executable} shop.py {port}"
    arena.start("run", "--app", command, "--url", f"http://127.0.0.1:{port}", "--users", "24", "--json", **how)  # type: ignore[arg-type]
    return port


def does_not_start(arena: Arena) -> None:
    arena.row.phase = "start"
    why = arena.random.choice(("import", "exit", "killed", "address", "address", "never listens"))
    arena.row.facts["why"] = why
    if why == "address":
        with ThreadingHTTPServer(("127.0.0.1", 0), Nobody) as there:  # it answers 500, which the shop never does
            Thread(target=there.serve_forever, daemon=True).start()
            start(arena, port=there.server_port, server="werkzeug")
            arena.wait_until_over()
            there.shutdown()
        return
    lines = {
        "import": "import no_such_module",
        "exit": "sys.exit('I will not')",
        "killed": "os.kill(os.getpid(), signal.SIGKILL)",
        "never listens": "time.sleep(1000)",
    }
    start(arena, first=lines[why], server="werkzeug")


class Nobody(BaseHTTPRequestHandler):
    """Answer every question with an error."""

    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        pass


def starts_slowly(arena: Arena) -> None:
    arena.row.phase = "start"
    start(arena, first=f"time.sleep({arena.between(0.5, 8.0):.2f})")


def crashes(arena: Arena) -> None:
    """A process of it ends, by itself or by a signal: a worker of two, or the only process."""
    at = int(arena.between(1, 400, "request"))
    how = arena.random.choice(("os._exit(9)", "os.kill(os.getpid(), signal.SIGSEGV)", "os.kill(os.getpid(), 9)"))
    server = arena.random.choice(("gunicorn", "werkzeug"))
    arena.row.facts |= {"how": how, "server": server}
    arena.row.phase = "load"
    start(arena, each=f"len(served) == {at} and {how}", server=server)


def killed(arena: Arena) -> None:
    start(arena)
    arena.moment("baseline", "load", "load", "drain", "rest", "quiet")
    processes = arena.app()
    victim = arena.random.choice(processes)
    arena.row.facts["first"] = victim == processes[0]
    arena.kill(victim, signal.SIGKILL)


def hung(arena: Arena) -> None:
    start(arena)
    arena.moment("load", "rest", "quiet")
    victim = arena.random.choice(arena.app()[1:])
    arena.kill(victim, signal.SIGSTOP)
    if arena.random.random() < 0.7:
        time.sleep(arena.between(0.3, 8.0))
        arena.kill(victim, signal.SIGCONT)


def recycled(arena: Arena) -> None:
    arena.row.phase = "load"
    least = int(arena.between(20, 300, "requests"))
    start(arena, "--max-requests", str(least), "--max-requests-jitter", str(arena.random.randint(0, 50)))


def forks_late(arena: Arena) -> None:
    start(arena, *arena.random.choice(((), ("--preload",))))
    arena.moment("load", "load", "rest")
    number = arena.random.choice((signal.SIGTTIN, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP))
    arena.row.facts["signal"] = number.name
    arena.kill(arena.app()[0], number)


def ignores_sigterm(arena: Arena) -> None:
    arena.row.phase = "end"
    start(arena, first="signal.signal(signal.SIGTERM, signal.SIG_IGN)", server="werkzeug")


def fills_its_log(arena: Arena) -> None:
    arena.row.phase = "load"
    size = int(arena.between(1_000, 30_000, "bytes a request"))
    start(arena, each=f"print('o' * {size}, os.environ['DATABASE_URL'], flush=True)")


def closes_the_probes_socket(arena: Arena) -> None:
    arena.row.phase = "load"
    start(arena, each=CLOSE_PROBES.format(at=int(arena.between(1, 200, "request"))))


def run_twice(arena: Arena) -> None:
    """The same app already runs at the same address: it answers instead of the one that was started."""
    arena.row.phase = "start"
    port = free_port()
    code = SHOP.format(first="os.environ['DATABASE_URL'] = 'sqlite://'", each="pass", fixed=True)
    (arena.folder / "first.py").write_text(code)
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONNLEAK")}
    arena.beside([sys.executable, "first.py", str(port)], env, port)
    start(arena, port=port, server=arena.random.choice(("gunicorn", "werkzeug")))
    arena.wait_until_over()


APP = (
    Nemesis(
        "app-does-not-start",
        "app",
        "an error at import, an exit, a kill -9, an address in use, a start without end",
        does_not_start,
        UNTIL_READY,
        must="none",
    ),
    Nemesis("app-starts-slowly", "app", "half a second to eight", starts_slowly, "", mild=True),
    Nemesis("app-crashes", "app", "a process of it ends in the middle of a request", crashes, GONE),
    Nemesis("app-killed", "app", "kill -9 of one of its processes, the first or a worker", killed, GONE),
    Nemesis(
        "app-hung",
        "app",
        "SIGSTOP to a worker, for up to eight seconds or for good",
        hung,
        r"aborted at the end|too long|silent|did not answer|timed out|still changing|but needs 5|gone|waited",
    ),
    Nemesis("app-recycled", "app", "its server ends a worker after 20 to 350 requests", recycled, GONE),
    Nemesis("app-forks-late", "app", "one worker more or less, or all anew, under load or at rest", forks_late, GONE),
    Nemesis("app-ignores-sigterm", "app", "it does not end when it is asked to", ignores_sigterm, "", mild=True),
    Nemesis(
        "app-fills-its-log", "app", "up to 30 KB a request, with the database's password", fills_its_log, "", mild=True
    ),
    Nemesis(
        "probe-socket-closed",
        "app",
        "a worker closes all its Unix sockets",
        closes_the_probes_socket,
        "probe|gone|ended",
    ),
    Nemesis(
        "app-run-twice",
        "app",
        "another app answers at the address already",
        run_twice,
        "in use|ended with exit code|before it was ready",
        must="none",
    ),
)
