"""Writes a recording's folder: rows are appended while it happens, so that any ending leaves what was until then."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import IO

import msgspec

from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Machine
from connleak.model.struct import Struct
from connleak.recording import folders
from connleak.recording.reader import FILES, write_json
from connleak.recording.redaction import hidden

SPARE = 1 << 16
"""Bytes that are kept free for the last words of a recording whose disk becomes full."""
LAST_WORDS = ("phases", "notes")


def without_secrets(plan: Plan) -> Plan:
    """Returns a plan as it may be written down: what was typed in it with `***` for its secrets."""
    requests = tuple(
        msgspec.structs.replace(one, path=hidden(one.path), body=hidden(one.body)) for one in plan.requests
    )
    return msgspec.structs.replace(
        plan,
        app=hidden(plan.app),
        url=hidden(plan.url),
        setup=tuple(map(hidden, plan.setup)),
        openapi=hidden(plan.openapi),
        requests=requests,
    )


class Writer:
    """Appends to a recording's folder, from several threads; a context manager.

    Every row is handed to the system at once. When that fails, `failed` says why, and only last words are taken then.
    Once it is closed, rows are let fall.
    """

    def __init__(self, folder: Path, plan: Plan, machine: Machine, only: Collection[str] = FILES) -> None:
        """Opens the files named by `only`; rows of any other are let fall."""
        self.folder = folder
        self.failed: OSError | None = None
        self._encoder = msgspec.json.Encoder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            write_json(folder / "plan.json", without_secrets(plan))
            write_json(folder / "machine.json", machine)
            self._files: dict[str, IO[bytes]] = {name: folders.append(folder / f"{name}.jsonl") for name in only}
            self._spare = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as the others
            self._spare.write(bytes(SPARE))
        except OSError as error:
            raise self._cannot(error) from None

    def append(self, name: str, *rows: Struct) -> None:
        """Writes rows to the file of that name and hands them to the system; see `failed`."""
        file = self._files.get(name)
        if file is None or (self.failed and name not in LAST_WORDS):
            return
        if self.failed:
            self._spare.close()
        # one write of whole lines: a BufferedWriter locks itself, so rows of two threads never mix
        try:
            file.write(self._encoder.encode_lines(list(rows)))  # of a tuple msgspec 0.22 leaks the iterator
            file.flush()
        except OSError as error:  # what was not written stays in the buffer, for the next time
            self.failed = self.failed or error
        except ValueError:  # a thread that nobody waits for any more: that it hung is noted before the files close
            if not file.closed:
                raise

    def check(self) -> None:
        """Raises Error when something could not be written."""
        if self.failed:
            raise self._cannot(self.failed)

    def _cannot(self, error: OSError) -> Error:
        again = "connleak run ... --out DIR, on a disk with room"
        return Error(f"cannot write to {self.folder}: {error.strerror}", again, exit_code=4)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._spare, *self._files.values()):
            with contextlib.suppress(OSError):
                file.close()


def new_folder(reports: Path, stem: str) -> Path:
    """Creates and returns `reports/<time>-<stem>`, with a number behind it when that second is taken."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{stem}"
    for number in range(1, 1000):
        folder = reports / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise Error(f"cannot write to {reports}: {error.strerror}", "connleak run ... --out DIR") from None
        return folder
    raise Error(f"{reports} has a thousand runs of this second", "connleak run ... --out DIR")


def point_latest(folder: Path) -> None:
    """Makes `latest` beside the folder point to it; a file system without links is left alone."""
    link = folder.parent / "latest"
    part = folder.parent / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):
        part.symlink_to(folder.name)
        part.replace(link)
