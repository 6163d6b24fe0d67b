"""Revisions of a git repository: calls of git, and work trees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from connleak.model.errors import Error
from connleak.processes.supervisor import Supervisor, wait_until_done

CHECKOUT = 600.0
"""Seconds that git may take for a work tree."""


def call_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder; raise Error when it is not installed."""
    argv = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Error("git is not installed", "apt-get install git", exit_code=4) from None


def check_out(supervisor: Supervisor, top: Path, tree: Path, ref: str) -> None:
    """Make a work tree of a revision; git is a child of the supervisor, which also ends the children of git."""
    git(top, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", message=f"there is no revision {ref}")
    argv = ["git", "-C", str(top), "worktree", "add", "--detach", str(tree), ref]
    log = supervisor.scratch / "git.log"
    child = supervisor.start(f"git worktree add {ref}", argv, cwd=top, env=os.environ, log=log)
    wait_until_done(supervisor, child, CHECKOUT)


def git(folder: Path, *arguments: str, message: str = "") -> str:
    """Return the output of git in a folder; raise Error with its last line, or with `message`, if it fails."""
    done = call_git(folder, *arguments)
    if done.returncode:
        message = message or (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise Error(f"git {arguments[0]} in {folder}: {message}", "git log --oneline")
    return done.stdout.strip()
