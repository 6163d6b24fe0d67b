"""A recording in one small file: its folder as a .tar.gz without the paths of this machine.

Long statements are cut, and of a large recording the checkouts that were returned at once are left out.
`pack` judges the result, which must have the verdict of the whole recording.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from connleak import judging
from connleak.model.errors import Error
from connleak.model.verdict import Verdict
from connleak.processes.cache import cache_folder
from connleak.processes.leftovers import recorded
from connleak.recording import delta, folders, reader
from connleak.recording.format import EventLine, SampleLine

SMALL = 40_000
"""Bytes of a packed recording above which the checkouts that were returned at once are left out."""
LIMIT = 400_000
"""Bytes: the largest packed recording."""
PACKED = (
    "plan.json",
    "machine.json",
    "excerpts.json",
    *(f"{name}.jsonl" for name in ("phases", "samples", "stacks", "events", "snapshots", "requests", "notes")),
)
MEMBERS = (*PACKED, "verdict.json")
"""The files that an archive may hold; `verdict.json` where too little of the recording is left to judge it again."""
UNPACKED = 100_000_000
"""Bytes: the largest content of a packed recording."""
UNREADABLE = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError)
"""Errors of reading bytes that are not such an archive."""
QUERY = 60
"""Characters of a statement that are kept."""
SHORT = 1.0
"""Seconds within which a checkout counts as returned at once."""
KEPT_RETURNS = 2
"""Checkouts returned at once that are kept of each session: its last ones."""

Files = dict[str, str]


def pack(folder: Path, path: Path, *roots: Path, limit: int = LIMIT) -> Verdict:
    """Write a recording's folder as one file, with paths relative to `roots`, and return its verdict.

    Raises Error when the file is too large or its verdict is not that of the folder.
    """
    whole = judging.judge(reader.read(folder))
    files = contents(folder)
    data = compressed(files, *roots)
    if len(data) > SMALL:
        data = compressed(without_prompt_returns(files), *roots)
    path.parent.mkdir(parents=True, exist_ok=True)
    folders.write(path, data, folders.SHARED)
    with unpacked(path) as small:
        verdict = verdict_in(small)
    if len(data) > limit or essence(verdict) != essence(whole):
        path.unlink()
        wrong = f"the verdict of the packed recording is {essence(verdict)} instead of {essence(whole)}"
        reason = f"it has {len(data)} bytes, more than {limit}" if len(data) > limit else wrong
        raise Error(f"{folder.name} cannot be packed: {reason}", "connleak gallery --record -k NAME")
    return verdict


def essence(verdict: Verdict) -> tuple[object, ...]:
    """Return the part of a verdict that packing must not change."""
    return verdict.outcome, *((f.kind, f.bounded_by, str(f.sites[0]) if f.sites else "") for f in verdict.findings)


def verdict_in(folder: Path) -> Verdict:
    """Return the verdict on an unpacked recording: the stored one, or else a new one."""
    if folders.is_file(folder / "verdict.json"):
        return reader.read_json(folder / "verdict.json", Verdict, "connleak gallery --record")
    return judging.judge(reader.read(folder))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield a folder with the recording in a packed file; raise Error when the file contains anything else."""
    with recorded() as record:
        scratch = record.folder(Path(tempfile.gettempdir()), "packed-")
        for name, data in members(path):
            folders.write(scratch / name, data)
        yield scratch


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of a packed recording's files; raise Error when it is not one."""
    try:
        with folders.open_file(path, folders.MAX_DOCUMENT) as packed, gzip.GzipFile(fileobj=packed) as archive:
            yield from members_of(archive)
    except UNREADABLE as error:
        command = f"tar -tvzf {shlex.quote(str(path))}"
        raise Error(f"{path} is not a packed recording: {error}", command) from None


def members_of(archive: gzip.GzipFile) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an archive in the form that `compressed` writes; raise TarError for any other form.

    `tarfile` gets one header at a time, because otherwise it processes everything that a header announces, such as
    links and names of any length.
    """
    remaining = UNPACKED
    missing = set(MEMBERS)
    while (header := archive.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise tarfile.TarError(f"its member {member.name!r} is not a regular file")
        if member.name not in missing:
            reason = "occurs twice" if member.name in MEMBERS else "is not one of a recording's files"
            raise tarfile.TarError(f"its member {member.name!r} {reason}")
        missing.remove(member.name)
        remaining -= member.size
        if member.size < 0 or remaining < 0:
            raise tarfile.TarError(f"its content is larger than {UNPACKED / 1e6:.0f} MB")
        data = archive.read(member.size)
        if len(data) < member.size:
            raise tarfile.TarError(f"it is cut off in {member.name}")
        archive.read(-member.size % tarfile.BLOCKSIZE)
        yield member.name, data
    padding = archive.read(tarfile.RECORDSIZE + 1)  # to the end, where gzip verifies the checksum
    if len(padding) > tarfile.RECORDSIZE or padding.strip(b"\0"):
        raise tarfile.TarError("there is data after its end")


def contents(folder: Path) -> Files:
    """Return the text of a recording's files, with short statements and every sample as a difference."""
    files = {name: folders.read_text(folder / name) for name in PACKED if folders.is_file(folder / name)}
    if "samples.jsonl" in files:
        path = folder / "samples.jsonl"
        files["samples.jsonl"] = text_of(with_short_statements(reader.read_lines(path, SampleLine, {}), path))
    return files


def with_short_statements(lines: Iterable[SampleLine], source: Path) -> Iterator[SampleLine]:
    """Yield samples with their statements cut to QUERY characters, as differences from the first one."""
    encoder = delta.Encoder()
    for number, sample in enumerate(delta.decode(lines, source)):
        rows = tuple(msgspec.structs.replace(row, query=row.query[:QUERY]) for row in sample.backends)
        yield encoder.encode(msgspec.structs.replace(sample, backends=rows), full=number == 0)


def without_prompt_returns(files: Files) -> Files:
    """Return files without the checkouts that were returned within SHORT seconds, except the last of each session."""
    events = msgspec.json.Decoder(EventLine).decode_lines(files.get("events.jsonl", ""))
    checkouts = {key_of(event): event for event in events if event.kind == "checkout"}
    prompt: dict[int | None, list[tuple[int, int]]] = {}
    for event in events:
        checkout = checkouts.get(key_of(event))
        if event.kind == "checkin" and checkout and not event.gc and event.t - checkout.t < SHORT:
            prompt.setdefault(checkout.backend, []).append(key_of(event))
    dropped = {key for keys in prompt.values() for key in keys[:-KEPT_RETURNS]}
    kinds = ("checkout", "checkin")
    kept = [event for event in events if event.kind not in kinds or key_of(event) not in dropped]
    return {**files, "events.jsonl": text_of(kept)}


def key_of(event: EventLine) -> tuple[int, int]:
    return event.process, event.checkout


def text_of(lines: Iterable[msgspec.Struct]) -> str:
    """Return JSON lines as text."""
    return msgspec.json.Encoder().encode_lines(list(lines)).decode()


def compressed(files: Files, *roots: Path) -> bytes:
    """Return anonymized files as a .tar.gz that depends only on their text."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in files.items():
            data = anonymized(text, *roots).encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 9, mtime=0)


def anonymized(text: str, *roots: Path) -> str:
    """Return text without the paths of this machine: those below `roots` relative to them, a package's by its name."""
    for root in roots:
        text = text.replace(f"{root}/", "").replace(str(root), ".")
    text = re.sub(r"""/[^\s"':,]*/site-packages/""", "site-packages/", text)
    for place in (str(cache_folder()), sys.prefix, sys.base_prefix):
        text = re.sub(re.escape(place) + r"""/[^\s"':,]*?([^\s"':,/]+)(?=[\s"':,]|$)""", r"\1", text)
    return re.sub(r"""/(?:home|root|tmp|work|opt|var|usr)/[^\s"':,]*?([^\s"':,/]+)(?=[\s"':,]|$)""", r"\1", text)
