"""For all tests: what they need of this machine, and what becomes of those that lack it."""

pytest_plugins = ["needs_programs"]
