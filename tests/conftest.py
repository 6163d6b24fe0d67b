"""Settings of all tests: the shared helpers are plugins, and each test bears its folder's name as a mark."""

from __future__ import annotations

import signal

import pytest

pytest.register_assert_rewrite("support")
pytest_plugins = ["support.needs_programs"]

# A shell lets its background jobs ignore SIGINT, and their children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(item.path.parent.name)
