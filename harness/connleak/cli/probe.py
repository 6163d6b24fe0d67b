"""`connleak probe`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import rich_click as click

from connleak.cli import options
from connleak.cli.output import err, escaped, sweep
from connleak.plan.addresses import parse_host_port
from connleak.recording.folders import folder_for, point_latest


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--probe", type=click.Choice(["pool", "queries"]), default="pool", show_default=True,
              help="Observe pools and drivers (pool), or statements too, at a higher cost (queries).")  # fmt: skip
@options.out("reports/<time>-probe-<command>", "The folder for holder tables")
@click.option("--collector", metavar="HOST:PORT",
              help="Send the probe's reports to a connleak on another host, at its --listen address.")  # fmt: skip
@click.option("--name", metavar="NAME", help="With --collector: the name of this host in the recording; "
              "default: its host name.")  # fmt: skip
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def probe(command: tuple[str, ...], probe: str, out: str | None, collector: str | None, name: str | None) -> None:
    """Run COMMAND with only the probe injected: connleak adds no load and no database connection.

    `connleak holders` then shows which line holds which connection. A holder table is also written on SIGUSR2, and at
    the first pool timeout. With --collector, a watch or a run on another host records what the probe reports. The exit
    code is that of COMMAND.

    \b
    connleak probe -- gunicorn -w 4 shop:app
    connleak probe --collector 10.0.0.1:7700 -- gunicorn -w 4 shop:app
    """
    from connleak.runner import instrument  # imports the databases' drivers, which --help does not need

    sweep()
    if collector:
        address = parse_host_port(collector, "--collector")
        sys.exit(instrument.run_relayed(command, address, name or socket.gethostname()))
    folder = folder_for(out, f"probe-{Path(command[0]).name}")
    if not out:
        point_latest(folder)

    def begun() -> None:
        err.print(escaped(f"connleak: pid {os.getpid()}; holder table: connleak holders {folder}"), style="dim")

    sys.exit(instrument.run_local(command, folder, probe, begun))
