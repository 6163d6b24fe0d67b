"""Makes .venv with everything of requirements.lock and connleak itself, and says what it does: `make` runs it.

    python3 make_venv.py .venv

By uv where it is installed, else by venv and pip. Standard library only, and in the syntax of any Python 3, so that one
that is too old says so.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time

BEGAN = time.monotonic()
EVERY = 1.0 if sys.stdout.isatty() else 10.0
"""Seconds between two lines of progress; on a terminal they are written over each other."""


def main(venv):
    if sys.version_info < (3, 11):
        here = sys.version.split()[0]
        sys.exit("connleak takes Python 3.11 or newer, and this is %s.\n  next: make PYTHON=python3.13 demo" % here)
    with open("requirements.lock", encoding="utf-8") as file:
        count = len(re.findall("^[^ #].*==", file.read(), re.M))
    python = os.path.join(venv, "bin", "python")
    if shutil.which("uv"):
        create = ["uv", "venv", "--allow-existing", "--python", sys.executable, venv]
        install = ["uv", "pip", "install", "--python", python]
    else:
        create = [sys.executable, "-m", "venv", venv]
        # the lock is complete: nothing to resolve. Of its 8000 modules those that are imported compile themselves
        install = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-compile", "--no-deps"]
    Step("1 of 3: a virtual environment in %s" % venv).run(create, "apt-get install python3-venv")
    locked = ["--require-hashes", "-r", "requirements.lock"]
    Step("2 of 3: the packages of requirements.lock", count).run(install + locked, "make clean demo")
    ours = ["--no-deps", "--no-build-isolation", "-e", "."]
    Step("3 of 3: connleak itself").run(install + ours, "make clean demo")


class Step:
    """A command with a line of progress, written anew while it runs."""

    def __init__(self, title, count=0):
        self.title = title
        self.count = count
        self.found = 0
        self.state = ""
        self.over = threading.Event()

    def run(self, argv, hint):
        """Runs it; ends with what it said last, and with what to type, when it fails."""
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        ticking = threading.Thread(target=self.tick, daemon=True)
        ticking.start()
        try:
            said = self.follow(process.stdout)
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        finally:
            self.over.set()
            ticking.join()
        self.show("failed\n" if code else "done\n")
        if code:
            sys.exit("%s\n%s failed.\n  next: %s" % ("".join(said[-20:]), " ".join(argv[:6]), hint))

    def follow(self, output):
        """Counts packages in the command's output until its end; returns the lines."""
        said = []
        for line in output:
            line = line.decode("utf-8", "replace")
            if not line.startswith("WARNING: Location"):  # an index that is set up on this machine, and is not there
                said.append(line)
            self.found += line.startswith(("Collecting ", "Processing "))
            if line.startswith("Installing collected"):
                self.state = "installing"
        return said

    def tick(self):
        self.show("")
        while not self.over.wait(EVERY):
            self.show(self.state or ("%d of %d" % (self.found, self.count) if self.found else ""))

    def show(self, state):
        words = "%4.0f s  %s%s" % (time.monotonic() - BEGAN, self.title, ": " + state if state else "")
        if sys.stdout.isatty():
            words = "\r\033[K" + words
        elif not state.endswith("\n"):
            words += "\n"
        sys.stdout.write(words)
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted.\n  next: make demo\n")
        sys.exit(130)
