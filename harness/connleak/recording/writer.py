"""Append to a recording's folder during the run, so that it is readable up to its end, however the run ends."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import msgspec

from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.model.recording import Machine
from connleak.model.struct import Struct
from connleak.recording import folders
from connleak.recording.format import FILES
from connleak.recording.redaction import redact_plan

RESERVE = 1 << 16
"""Bytes of disk that are reserved for the last rows when the disk becomes full."""
LAST_FILES = ("phases", "notes")
"""Files that still take rows after a write has failed."""


class Writer:
    """Append rows to a recording's folder, from several threads; a context manager.

    Every row is handed to the system at once.
    When that fails, `failed` holds the error, and from then on only the rows of LAST_FILES are written.
    Rows that arrive after the end are dropped.
    """

    def __init__(self, folder: Path, plan: Plan, machine: Machine, only: Collection[str] = FILES) -> None:
        """Open the files named in `only`; rows of any other file are dropped."""
        self.folder = folder
        self.failed: OSError | None = None
        self._encoder = msgspec.json.Encoder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            folders.write_json(folder / "plan.json", redact_plan(plan))
            folders.write_json(folder / "machine.json", machine)
            self._files: dict[str, IO[bytes]] = {name: folders.append(folder / f"{name}.jsonl") for name in only}
            self._reserve = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed in __exit__
            self._reserve.write(bytes(RESERVE))
        except OSError as error:
            raise self._write_error(error) from None

    def append(self, name: str, *rows: Struct) -> None:
        """Write rows to the file of that name and hand them to the system; see `failed`."""
        file = self._files.get(name)
        if file is None or (self.failed and name not in LAST_FILES):
            return
        if self.failed:
            self._reserve.close()
        # one write of whole lines: a BufferedWriter locks itself, so rows of two threads never mix
        try:
            file.write(self._encoder.encode_lines(list(rows)))  # given a tuple, msgspec 0.22 leaks the iterator
            file.flush()
        except OSError as error:  # rows that were not written stay in the buffer until the next write
            self.failed = self.failed or error
        except ValueError:  # of a thread that outlives the session, which is noted before the files are closed
            if not file.closed:
                raise

    def check(self) -> None:
        """Raise Error when a write has failed."""
        if self.failed:
            raise self._write_error(self.failed)

    def _write_error(self, error: OSError) -> Error:
        command = "connleak run ... --out DIR, on a disk with free space"
        return Error(f"cannot write to {self.folder}: {error.strerror}", command, exit_code=4)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._reserve, *self._files.values()):
            with contextlib.suppress(OSError):
                file.close()
