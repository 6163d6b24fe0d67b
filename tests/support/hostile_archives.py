"""Hostile packed recordings: each function of ARCHIVES writes a .tar.gz file."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from support.paths import RECORDINGS

ARCHIVES: dict[str, Callable[[Path], None]] = {}


def archive(make: Callable[[Path], None]) -> Callable[[Path], None]:
    ARCHIVES[make.__name__] = make
    return make


NOTHING = b"{}"


GOOD = RECORDINGS / "missing_remove-buggy.tar.gz"
"""The recording that an archive holds beside the attack: without the attack it is readable."""


def members(path: Path, made: Iterable[tuple[tarfile.TarInfo, bytes]], *, last: bool = True) -> None:
    """Write a good recording, and other members before or after it."""
    with tarfile.open(GOOD) as tar:
        good = [(about, tar.extractfile(about).read()) for about in tar if about.name != "excerpts.json"]
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        for about, data in chain(good, made) if last else chain(made, good):
            about.size = about.size or len(data)
            tar.addfile(about, io.BytesIO(data))


def one(name: str = "excerpts.json", **facts: object) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(about, key, value)
    return about


@archive
def member_is_a_symlink(path: Path) -> None:
    members(path, [(one(type=tarfile.SYMTYPE, linkname="/etc/passwd"), b"")])


@archive
def member_is_a_symlink_written_through(path: Path) -> None:
    members(path, [(one(type=tarfile.SYMTYPE, linkname="/tmp/x"), b""), (one(), NOTHING)], last=False)


@archive
def member_is_a_hard_link(path: Path) -> None:
    members(path, [(one(type=tarfile.LNKTYPE, linkname="/etc/passwd"), b"")])


@archive
def member_is_a_device(path: Path) -> None:
    members(path, [(one(type=tarfile.CHRTYPE, devmajor=1, devminor=5), b"")])


@archive
def member_is_a_fifo(path: Path) -> None:
    members(path, [(one(type=tarfile.FIFOTYPE), b"")])


@archive
def member_is_a_folder(path: Path) -> None:
    members(path, [(one(type=tarfile.DIRTYPE), b"")])


@archive
def member_has_an_absolute_path(path: Path) -> None:
    members(path, [(one("/etc/cron.d/owned"), NOTHING)])


@archive
def member_climbs_out(path: Path) -> None:
    members(path, [(one("../excerpts.json"), NOTHING)])


@archive
def member_comes_twice(path: Path) -> None:
    members(path, [(one(), NOTHING), (one(), NOTHING)])


@archive
def a_hundred_thousand_members(path: Path) -> None:
    members(path, ((one(f"f{n}"), b"") for n in range(100_000)))


@archive
def a_member_is_a_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        about = one("samples.jsonl", size=2 << 30)
        file.write(about.tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            file.write(bytes(1 << 20))


@archive
def members_are_a_bomb_together(path: Path) -> None:
    members(path, [(one("verdict.json"), bytes(45_000_000)), (one(), bytes(60_000_000))], last=False)


@archive
def a_long_name_is_a_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(one("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2 << 30).tobuf(tarfile.GNU_FORMAT))
        for _ in range(300):
            file.write(b"x" * (1 << 20))


@archive
def an_extended_header_is_a_bomb(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(one("x", type=tarfile.XHDTYPE, size=200 << 20).tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            file.write(b"9" * (1 << 20))


@archive
def a_size_is_negative(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        header = bytearray(one(size=1).tobuf(tarfile.GNU_FORMAT))
        header[124:136] = b"\xff" * 12
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
        file.write(bytes(header))


@archive
def it_is_cut(path: Path) -> None:
    members(path, [(one(), os.urandom(100_000))], last=False)
    path.write_bytes(path.read_bytes()[:50_000])


@archive
def it_is_damaged(path: Path) -> None:
    members(path, [(one(), os.urandom(100_000))], last=False)
    data = bytearray(path.read_bytes())
    data[40_000:40_100] = bytes(100)
    path.write_bytes(bytes(data))


@archive
def it_is_no_archive(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b" + b"x" * 1000)


@archive
def it_is_text(path: Path) -> None:
    path.write_text("a recording, trust me")


@archive
def it_is_empty(path: Path) -> None:
    path.write_bytes(b"")


@archive
def its_headers_are_noise(path: Path) -> None:
    path.write_bytes(gzip.compress(os.urandom(100_000)))


@archive
def it_is_a_fifo(path: Path) -> None:
    os.mkfifo(path)


@archive
def it_is_a_symlink(path: Path) -> None:
    path.symlink_to("/dev/zero")


@archive
def it_holds_nothing(path: Path) -> None:
    with tarfile.open(path, "w:gz"):
        pass
