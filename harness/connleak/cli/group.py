"""The command group: imports a command on first use, and prints an expected error with the next command."""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import rich_click as click
from click.exceptions import Exit

from connleak.cli.output import COULD_NOT_RUN, fail
from connleak.model.errors import Error

REFUSED_BY_THE_SYSTEM = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
}  # fmt: skip


class Group(click.RichGroup):
    """A group whose commands are found by name in the modules of a table."""

    modules: Mapping[str, str] = {}
    """The module in this package of each command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the table."""
        return [*self.modules, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of that name."""
        if cmd_name not in self.modules:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"connleak.cli.{self.modules[cmd_name]}")
        found = (value for value in vars(module).values() if isinstance(value, click.Command))
        return next(command for command in found if command.name == cmd_name)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command line and exit."""
        # A late SIGUSR2 must not end a run. A handler, because child processes would inherit an ignored signal.
        signal.signal(signal.SIGUSR2, lambda *_: None)
        atexit.register(signal.signal, signal.SIGUSR2, signal.SIG_IGN)  # Python removes handlers before it exits
        try:
            super().main(*args, **{**kwargs, "standalone_mode": False})
        except Error as error:
            fail(error.message, error.hint, error.exit_code)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "connleak"
            fail(error.format_message(), f"{path} --help", 2)
        except Exit as stop:
            sys.exit(stop.exit_code)
        except (click.Abort, KeyboardInterrupt):
            fail("interrupted", "connleak list", 130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        except OSError as error:
            if error.errno not in REFUSED_BY_THE_SYSTEM:
                raise
            fail(f"{error.filename or 'a file'}: {error.strerror}", "df -h . ; ls -ld .", COULD_NOT_RUN)
        except MemoryError:
            fail("out of memory: this process has reached its limit", "free -m; ulimit -a", COULD_NOT_RUN)
        sys.exit(0)
