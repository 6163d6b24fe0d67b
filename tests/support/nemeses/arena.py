"""One fault injected into one real run, and the checks of what it leaves, records and prints."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from support.cli import command, connleak

PHASES = ("start", "baseline", "load", "drain", "rest", "quiet", "collect")
HONEST = {"buggy": "leak", "fixed": "clean"}
PATIENCE = 120.0
CLEANING = 15.0
MARK = "CONNLEAK_ARENA"


@dataclass(frozen=True)
class Nemesis:
    """A fault: its effect, the words that must report it, and the outcomes that are right."""

    name: str
    group: str
    does: str
    attack: Callable[[Arena], None]
    reported: str
    """A pattern in the output or the recording; required unless the verdict is the app's own."""
    may: tuple[str, ...] = ()
    """Outcomes that are right as well, beside the app's own and `inconclusive`."""
    must: str = ""
    """The only right outcome, if there is one; `none`: nothing could be run, and an error reports it."""
    mild: bool = False
    """Whether the fault must not matter: then the app's own outcome is the only right one."""


@dataclass
class Row:
    """The result of one fault."""

    nemesis: str
    group: str
    seed: int
    variant: str = ""
    phase: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    outcome: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    said: str = ""
    injected: bool = True
    problems: list[str] = field(default_factory=list)


class TooLate(Exception):
    """The run ended before the fault's moment: nothing was injected."""


class Arena:
    """A run of connleak with a fault; a context manager that leaves nothing behind."""

    def __init__(self, nemesis: Nemesis, seed: int) -> None:
        self.nemesis = nemesis
        self.random = random.Random(f"{nemesis.name} {seed}")
        self.variant = self.random.choice(("buggy", "fixed"))
        self.row = Row(nemesis.name, nemesis.group, seed, self.variant)
        self.folder = Path(tempfile.mkdtemp(prefix="arena-"))
        self.temporary = self.folder / "t"
        self.temporary.mkdir(mode=0o1777)
        self.temporary.chmod(0o1777)
        self.folder.chmod(0o711)
        self.out = self.folder / "run"
        self.mark = self.folder.name
        self.began = time.time() - 1
        self.undo = contextlib.ExitStack()
        self.undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.seen: dict[int, psutil.Process] = {}
        self.shared: set[Path] = set()
        self.victims: list[subprocess.Popen[str]] = []
        self.said: list[tuple[str, str]] = []
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Arena:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()
        for victim in self.victims:
            with contextlib.suppress(ProcessLookupError):
                victim.send_signal(signal.SIGCONT)
                victim.kill()
        self.undo.close()

    # the run

    def start(
        self,
        *words: str,
        before: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        terminal: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start connleak with these arguments and temporary folders of the arena."""
        where = [] if cwd else ["--out", str(self.out)]
        if terminal is not None:
            before = ("setsid", "--ctty", *before)
        victim = subprocess.Popen(
            [*before, *command(*words), *where],
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            start_new_session=terminal is None,
            cwd=cwd or self.folder,
            env={
                **os.environ,
                "TMPDIR": str(self.temporary),
                "CONNLEAK_STATE": str(self.folder / "state"),
                MARK: self.mark,
                "COLUMNS": "200",
                **(env or {}),
            },
        )
        self.victims.append(victim)
        return victim

    def start_target(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Start the run of a known leak or of its fix, by the seed."""
        return self.start("run", f"missing_remove:{self.variant}", "--json", *words, **how)

    def beside(self, argv: list[str], env: dict[str, str], port: int) -> None:
        """Start a process outside the run, for as long as the arena exists; return once it listens."""
        process = subprocess.Popen(argv, cwd=self.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.undo.callback(process.wait)
        self.undo.callback(process.kill)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.1)
        raise TimeoutError(f"{argv} does not listen")

    def drain(self, terminal: int) -> None:
        """Read a terminal, so that writing to it never blocks."""

        def read() -> None:
            with contextlib.suppress(OSError):
                while os.read(terminal, 1 << 16):
                    pass

        threading.Thread(target=read, daemon=True).start()

    @property
    def victim(self) -> subprocess.Popen[str]:
        return self.victims[0]

    def need_running(self) -> None:
        if self.victim.poll() is not None:
            raise TooLate

    def phase(self) -> str:
        """Return the run's current phase, from its recording."""
        try:
            last = (self.out / "phases.jsonl").read_text().splitlines()[-1]
            return str(json.loads(last)["name"])
        except (OSError, IndexError, ValueError):
            return ""

    def wait_for(self, phase: str, timeout: float = 60) -> None:
        """Return once the run is in that phase; raise TooLate if the run has ended."""
        deadline = time.monotonic() + timeout
        while self.phase() != phase:
            self.need_running()
            if time.monotonic() > deadline:
                raise TooLate
            time.sleep(0.02)

    def moment(self, *phases: str, within: float = 0.8) -> None:
        """Wait for a random moment in one of these phases, or of all phases."""
        phase = self.random.choice(phases or PHASES)
        self.wait_for(phase)
        if phase == "start":
            within *= 2
        wait = self.random.uniform(0.0, within)
        self.row.facts["after"] = round(wait, 2)
        time.sleep(wait)
        self.need_running()
        self.row.phase = self.phase()

    def between(self, least: float, most: float, name: str = "seconds") -> float:
        """Return a random number, which the row keeps, too."""
        number = self.random.uniform(least, most)
        self.row.facts[name] = round(number, 2)
        return number

    # its processes

    def family(self) -> list[psutil.Process]:
        """Return the living processes of the run."""
        found = []
        for victim in self.victims:
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(victim.pid).children(recursive=True)
        return found

    def find(self, *patterns: str, patience: float = 5.0) -> list[psutil.Process]:
        """Return the run's processes whose command line matches every pattern, by pid; raise TooLate if none does."""
        deadline = time.monotonic() + patience
        while True:
            found = [process for process in self.family() if matches(process, patterns)]
            if found:
                return sorted(found, key=lambda process: process.pid)
            self.need_running()
            if time.monotonic() > deadline:
                raise TooLate
            time.sleep(0.05)

    def postmaster(self) -> psutil.Process:
        return self.find(r"/postgres -D")[0]

    def servers(self) -> list[psutil.Process]:
        """Return the server's process and its children."""
        first = self.postmaster()
        return [first, *first.children(recursive=True)]

    def app(self) -> list[psutil.Process]:
        """Return the app's processes, the first one first."""
        return self.find(r"gunicorn|shop\.py")

    def kill(self, process: psutil.Process, number: int) -> None:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            raise TooLate from None

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.look()

    def look(self) -> None:
        """Record the running processes, and their folders in memory."""
        for process in self.family():
            if process.pid not in self.seen:
                self.seen[process.pid] = process
            with contextlib.suppress(psutil.Error, OSError):
                words = " ".join(process.cmdline())
                self.shared |= {Path(name) for name in re.findall(r"/dev/shm/connleak-[^/ ]+", words)}
                if "/postgres -D" in words:
                    maps = Path(f"/proc/{process.pid}/maps").read_text()
                    self.shared |= {Path(name) for name in re.findall(r"/dev/shm/PostgreSQL\.\d+", maps)}

    # afterwards

    def finish(self) -> None:
        """Wait for the run's end, and check what it left, recorded and printed."""
        began = time.monotonic()
        self.wait_until_over()
        self.row.facts["ending"] = round(time.monotonic() - began, 1)
        self.look()
        self._stop.set()
        self.row.problems += [f"left: {thing}" for thing in self.left()]
        for stdout, stderr in self.said:
            if (
                "Traceback (most" in re.sub(r"(?m)^    .*", "", stderr)
                or "Traceback (most" in stdout.partition('"evidence"')[0]
            ):
                self.row.problems.append(f"a traceback: {stderr[-1500:]}")
        for victim, (stdout, stderr) in zip(self.victims, self.said, strict=True):
            self.row.exit_code = victim.returncode
            self.weigh(stdout, stderr)

    def wait_until_over(self) -> None:
        """Read the runs' output until they end; kill a run after PATIENCE seconds."""
        for victim in self.victims[len(self.said) :]:
            try:
                stdout, stderr = victim.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.row.problems.append(f"it had not ended after {PATIENCE:.0f} s")
                self.look()
                victim.kill()
                stdout, stderr = victim.communicate()
            self.said.append((stdout, stderr or ""))

    def left(self) -> list[str]:
        """Return what remains of the run after CLEANING seconds."""
        deadline = time.monotonic() + CLEANING
        while (found := self.remains()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def remains(self) -> list[str]:
        found = []
        mine = list(self.seen.values()) + [p for p in psutil.process_iter() if marked(p, self.mark)]
        for process in mine:
            with contextlib.suppress(psutil.Error):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"process {process.pid} {' '.join(process.cmdline())[:80]}")
        found += [f"folder {path}" for path in self.temporary.iterdir()]
        found += [f"folder {path}" for path in self.shared if path.exists()]
        return found + [f"shared memory {row}" for row in segments(set(self.seen), self.began)]

    def weigh(self, stdout: str, stderr: str) -> None:
        """Check the verdict, its recording and its text."""
        row, nemesis = self.row, self.nemesis
        place = re.search(r"report: (\S+)/report\.html", stderr)
        if place:
            self.out = self.folder / "checkout" / place.group(1)  # a relative path, of two runs at once
        verdict = verdict_in(stdout)
        again, words = self.judged()
        row.outcome = verdict.get("outcome") or "none"
        if verdict and again and again != verdict:
            row.problems.append("judging the recording again gives another verdict")
        outcome = again.get("outcome", row.outcome) if row.exit_code < 0 else row.outcome
        right = {"inconclusive", HONEST[self.variant], *nemesis.may, *(["none"] if not verdict else [])}
        if nemesis.must:
            right = {nemesis.must}
        elif nemesis.mild:
            right = {HONEST[self.variant]}
        if outcome not in right:
            row.problems.append(f"{outcome} for the {self.variant} app: {verdict.get('sentence', stderr)[:400]}")
        words = "\n".join((stderr, stdout, words, json.dumps(again)))
        found = re.search(nemesis.reported, words)
        row.said = found.group(0)[:120] if found else ""
        if not found and outcome != HONEST[self.variant]:
            row.problems.append(f"no report of /{nemesis.reported}/: {reasons_of(verdict or again)} {stderr[-300:]}")
        if row.exit_code in (2, 4) and "next:" not in stderr:
            row.problems.append(f"no next step: {stderr[-300:]}")

    def judged(self) -> tuple[dict[str, Any], str]:
        """Judge the run's folder again; return the verdict and the standard error."""
        if not (self.out / "plan.json").exists():
            return {}, ""
        done = connleak("judge", str(self.out), "--json", cwd=self.folder)
        if "Traceback" in done.stderr or done.returncode not in (0, 1, 2, 3):
            self.row.problems.append(f"judge: exit code {done.returncode}: {done.stderr[-300:]}")
        return verdict_in(done.stdout), done.stderr


def verdict_in(stdout: str) -> dict[str, Any]:
    try:
        found = json.loads(stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else found[0]


def reasons_of(verdict: dict[str, Any]) -> str:
    """Return a verdict's reasons."""
    return " | ".join(why for _, outcome, why in verdict.get("checks", []) if outcome == "inconclusive")


def matches(process: psutil.Process, patterns: tuple[str, ...]) -> bool:
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return all(re.search(pattern, words) for pattern in patterns)


def marked(process: psutil.Process, mark: str) -> bool:
    """Return whether a process belongs to this arena."""
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except psutil.Error:
        return False


def segments(pids: set[int], since: float) -> list[str]:
    """Return the System V shared memory that one of these processes has made since a time."""
    try:
        rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    except OSError:
        return []
    return [row for row in rows if int(row.split()[4]) in pids and int(row.split()[13]) >= since]


def fight(nemesis: Nemesis, seed: int, keep: Path | None = None) -> Row:
    """Inject one fault by its seed; return its row. The recording of a row with problems goes into `keep`."""
    began = time.monotonic()
    with Arena(nemesis, seed) as arena:
        row = arena.row
        try:
            nemesis.attack(arena)
        except TooLate:
            row.injected = False
        except Exception as error:  # the arena's own mistake is a failure too
            row.problems.append(f"the attack itself failed: {error!r}")
        arena.finish()
        if keep and row.problems and arena.out.exists():
            shutil.copytree(arena.out, keep / f"{nemesis.name}-{seed}", dirs_exist_ok=True)
    row.seconds = round(time.monotonic() - began, 1)
    return row


def as_json(row: Row) -> dict[str, Any]:
    return asdict(row)
