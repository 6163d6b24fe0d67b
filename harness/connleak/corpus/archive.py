"""A recording in one small file: its folder's text as a .tar.gz, without this machine's paths, thinned until it fits.

What is thinned away is what no verdict rests on: checkouts that came back at once, long statements, samples in the
midst of a load. Whoever packs judges the result, which must be the verdict of the whole.
"""

from __future__ import annotations

import gzip
import io
import re
import shlex
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from connleak.judging import judge
from connleak.model.errors import Error
from connleak.model.verdict import Verdict
from connleak.processes.cache import cache_folder
from connleak.processes.leftovers import recorded
from connleak.recording import folders
from connleak.recording import reader as recording

LIMIT = 40_000
"""Bytes that a packed recording may have."""
PACKED = (
    "plan.json",
    "machine.json",
    "excerpts.json",
    *(f"{name}.jsonl" for name in ("phases", "samples", "stacks", "events", "snapshots", "requests", "notes")),
)
MEMBERS = (*PACKED, "verdict.json")
UNPACKED = 100_000_000
"""Bytes that a packed recording may unpack to."""
UNREADABLE = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError)
"""What reading bytes that are no such archive raises."""
QUERY = 60
"""Characters of a statement that are kept where it is thinned."""

Row = dict[str, Any]


def pack(folder: Path, path: Path, root: Path) -> Verdict:
    """Writes a recording's folder as one file; returns the verdict, which is that of the whole recording.

    `root` is what paths are named from. Raises Error when it cannot be made small without changing the verdict.
    """
    whole = judge(recording.read(folder))
    files = {name: folders.read_text(folder / name) for name in PACKED if folders.has(folder / name)}
    data = b""
    for thin in (unchanged, without_prompt_returns, with_short_statements, with_fewer_samples, rounded, curve_alone):
        files = thin(files)
        if thin is curve_alone:
            files["verdict.json"] = msgspec.json.encode(whole).decode()
        data = compressed({name: anonymous(text, root) for name, text in files.items()})
        if len(data) <= LIMIT:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    folders.write(path, data, folders.SHARED)
    with unpacked(path) as small:
        verdict = verdict_in(small)
    if len(data) > LIMIT or told(verdict) != told(whole):
        path.unlink()
        why = f"{len(data)} bytes" if len(data) > LIMIT else f"thinned, it says {told(verdict)}, not {told(whole)}"
        raise Error(f"{folder.name} cannot be packed into {LIMIT} bytes: {why}", "connleak gallery --record --load 1")
    return verdict


def told(verdict: Verdict) -> tuple[object, ...]:
    """Returns what must not change when a recording is thinned."""
    return verdict.outcome, *((f.kind, f.bounded_by, str(f.sites[0]) if f.sites else "") for f in verdict.findings)


def verdict_in(folder: Path) -> Verdict:
    """Returns the verdict on an unpacked recording: judged anew, or the kept one where only the curve is left."""
    if folders.has(folder / "verdict.json"):
        return recording.read_json(folder / "verdict.json", Verdict, "connleak gallery --record")
    return judge(recording.read(folder))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yields a folder with the recording that a file holds; raises Error for one that holds anything else."""
    with recorded() as record:
        scratch = record.folder(Path(tempfile.gettempdir()), "packed-")
        for name, data in members(path):
            folders.write(scratch / name, data)
        yield scratch


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the files that a packed recording holds, by their names; raises Error when it is none."""
    try:
        with folders.opened(path, folders.DOCUMENT) as packed, gzip.GzipFile(fileobj=packed) as archive:
            yield from files_in(archive)
    except UNREADABLE as error:
        again = f"tar -tvzf {shlex.quote(str(path))}"
        raise Error(f"{path} is no packed recording: {error}", again) from None


def files_in(archive: gzip.GzipFile) -> Iterator[tuple[str, bytes]]:
    """Yields the members of an archive as `compressed` makes them; raises TarError for any other.

    `tarfile` gets one header at a time, for on its own it reads whatever that announces: names of any length, links.
    """
    room = UNPACKED
    missing = set(MEMBERS)
    while (header := archive.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise tarfile.TarError(f"its member {member.name!r} is no regular file")
        if member.name not in missing:
            why = "comes twice" if member.name in MEMBERS else "is none of a recording's files"
            raise tarfile.TarError(f"its member {member.name!r} {why}")
        missing.remove(member.name)
        room -= member.size
        if member.size < 0 or room < 0:
            raise tarfile.TarError(f"it unpacks to more than {UNPACKED / 1e6:.0f} MB")
        data = archive.read(member.size)
        if len(data) < member.size:
            raise tarfile.TarError(f"it is cut short in {member.name}")
        archive.read(-member.size % tarfile.BLOCKSIZE)
        yield member.name, data
    rest = archive.read(tarfile.RECORDSIZE + 1)  # to its end, where the checksum is looked at
    if len(rest) > tarfile.RECORDSIZE or rest.strip(b"\0"):
        raise tarfile.TarError("something follows its end")


def compressed(files: dict[str, str]) -> bytes:
    """Returns files as a .tar.gz that depends on nothing but their text."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in files.items():
            data = text.encode()
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(data), 0o644
            tar.addfile(about, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 9, mtime=0)


def anonymous(text: str, root: Path) -> str:
    """Returns text without this machine's paths: the project's are named from its root, a package's by its name."""
    text = text.replace(f"{root}/", "").replace(str(root), ".")
    text = re.sub(r"""/[^\s"':,]*/site-packages/""", "site-packages/", text)
    for place in (str(cache_folder()), sys.prefix, sys.base_prefix):
        text = re.sub(re.escape(place) + r"""/[^\s"':,]*?([^\s"':,/]+)(?=[\s"':,]|$)""", r"\1", text)
    return re.sub(r"""/(?:home|root|tmp|work|opt|var|usr)/[^\s"':,]*?([^\s"':,/]+)(?=[\s"':,]|$)""", r"\1", text)


def unchanged(files: dict[str, str]) -> dict[str, str]:
    return files


def lines(text: str, change: Callable[[list[Row]], list[Row]]) -> str:
    """Returns JSON lines after a change of their rows."""
    rows = [msgspec.json.decode(line) for line in text.splitlines() if line]
    return "".join(msgspec.json.encode(row).decode() + "\n" for row in change(rows))


def without_prompt_returns(files: dict[str, str]) -> dict[str, str]:
    """Leaves out the checkouts that the app gave back within a second, but for the last two of each session."""

    def change(rows: list[Row]) -> list[Row]:
        began = {(r["process"], r.get("checkout")): r for r in rows if r["kind"] == "checkout"}
        prompt: dict[object, list[tuple[object, object]]] = {}
        for row in rows:
            key = (row["process"], row.get("checkout"))
            taken = began.get(key)
            if row["kind"] == "checkin" and taken and not row.get("gc") and row["t"] - taken["t"] < 1:
                prompt.setdefault(taken.get("backend"), []).append(key)
        gone = {key for keys in prompt.values() for key in keys[:-2]}
        kinds = ("checkout", "checkin")
        return [r for r in rows if r["kind"] not in kinds or (r["process"], r.get("checkout")) not in gone]

    return {**files, "events.jsonl": lines(files.get("events.jsonl", ""), change)}


def with_short_statements(files: dict[str, str]) -> dict[str, str]:
    """Cuts the statements that sessions show."""
    return {**files, "samples.jsonl": cut_statements(files["samples.jsonl"], QUERY)}


def cut_statements(samples: str, characters: int) -> str:
    """Returns samples whose statements have at most so many characters."""

    def change(rows: list[Row]) -> list[Row]:
        return [
            {**r, "rows": [[*b[:8], b[8][:characters], *b[9:]] if len(b) > 8 else b for b in r.get("rows", [])]}
            for r in rows
        ]

    return lines(samples, change)


def with_fewer_samples(files: dict[str, str]) -> dict[str, str]:
    """Keeps every third sample of the loads, as whole ones."""
    phases = [msgspec.json.decode(line) for line in files["phases.jsonl"].splitlines()]
    loads = [(a["t"], b["t"]) for a, b in pairwise(phases) if a["name"] == "load"]

    def change(rows: list[Row]) -> list[Row]:
        return differences(every(3, rows, loads))

    return {**files, "samples.jsonl": lines(files["samples.jsonl"], change)}


def every(nth: int, rows: list[Row], loads: list[tuple[float, float]]) -> list[Row]:
    """Returns each nth of the loads' samples, and all others, as whole ones."""
    kept: list[Row] = []
    now: dict[int, list[Any]] = {}
    for number, row in enumerate(rows):
        now = {} if row.get("full") else now
        for pid in row.get("gone", []):
            now.pop(pid, None)
        now |= {b[0]: b for b in row.get("rows", [])}
        if number % nth == 0 or not any(begin + 0.5 < row["t"] < end - 0.5 for begin, end in loads):
            kept.append({**row, "full": True, "rows": list(now.values()), "gone": []})
    return kept


def differences(rows: list[Row]) -> list[Row]:
    """Returns whole samples as changes from one to the next, as a recording stores them."""
    found: list[Row] = []
    before: dict[int, list[Any]] = {}
    for row in rows:
        now = {b[0]: b for b in row["rows"]}
        changed = [b for pid, b in now.items() if before.get(pid) != b]
        found.append({**row, "full": not found, "rows": changed, "gone": [pid for pid in before if pid not in now]})
        before = now
    return found


def rounded(files: dict[str, str]) -> dict[str, str]:
    """Rounds the requests' times, and keeps no statement at all."""

    def requests(rows: list[Row]) -> list[Row]:
        return [{**r, "t": round(r["t"], 2), "seconds": round(r["seconds"], 3)} for r in rows]

    return {
        **files,
        "samples.jsonl": cut_statements(files["samples.jsonl"], 0),
        "requests.jsonl": lines(files.get("requests.jsonl", ""), requests),
    }


def curve_alone(files: dict[str, str]) -> dict[str, str]:
    """Keeps the sessions and their states, and nothing that a verdict could be made of: it is kept as it was."""

    def change(rows: list[Row]) -> list[Row]:
        bare = [
            {"t": round(r["t"], 2), "rows": [[b[0], round(b[1], 1), "", None, b[4]] for b in r["rows"]]} for r in rows
        ]
        return differences(bare)

    whole = lines(files["samples.jsonl"], lambda rows: every(3, rows, [(0.0, float("inf"))]))
    kept = ("plan.json", "machine.json", "phases.jsonl", "excerpts.json")
    return {**{name: files[name] for name in kept if name in files}, "samples.jsonl": lines(whole, change)}
