"""For all tests: what they need of this machine, and what becomes of those that lack it."""

import signal

pytest_plugins = ["needs_programs"]

# A shell has its background jobs ignore Ctrl-C, and so would all that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
