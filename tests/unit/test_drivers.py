"""The probe's table of drivers: each entry is hooked, and answers for the driver's own classes."""

from __future__ import annotations

import importlib
import sqlite3
from types import SimpleNamespace

import pytest
from connleak.probe import agent
from connleak.probe.agent import drivers, pool_sizes, sessions
from connleak.runner import log_patterns


def made_by(module: str, **attributes: object) -> object:
    """Return an object of a class that derives from one of that module's, as an app's subclass does."""
    base = type("Base", (), {"__module__": module})
    return type("Derived", (base,), {"__module__": "app", **attributes})()


def test_every_watched_driver_has_its_hooks() -> None:
    hooked = {name for name, _ in agent.WATCHED}
    assert {module for driver in drivers.DRIVERS for module in driver.modules} <= hooked
    assert drivers.UNWATCHED == ("pg8000", "aiomysql", "pgdb", "psycopg2cffi", "aiopg", "mysql.connector")


@pytest.mark.parametrize(
    ("module", "attributes", "closed"),
    [
        ("psycopg2.extensions", {"closed": 1}, True),
        ("psycopg2.extensions", {"closed": 0}, False),
        ("psycopg", {"closed": True}, True),
        ("asyncpg.connection", {"is_closed": lambda self: True}, True),
        ("asyncpg.connection", {"is_closed": lambda self: False}, False),
        ("pymysql.connections", {"open": False}, True),
        ("MySQLdb.connections", {"thread_id": lambda self: 1 / 0}, True),
        ("MySQLdb.connections", {"thread_id": lambda self: 7, "open": 0}, False),
        ("sqlite3", {"closed": True}, False),
        ("another_driver", {"closed": True}, False),
    ],
)
def test_whether_a_connection_is_closed_is_its_drivers_answer(module: str, attributes: dict, closed: bool) -> None:
    assert agent.driver_connects.is_closed(made_by(module, **attributes)) is closed


def test_a_transparent_proxy_has_the_driver_of_its_connection() -> None:
    connection = made_by("psycopg2.extensions", closed=1)

    class Proxy:
        closed = 1

        @property
        def __class__(self) -> type:
            return type(connection)

    assert agent.driver_connects.is_closed(Proxy()) is True


@pytest.mark.parametrize(
    ("attributes", "number"),
    [
        ({"get_backend_pid": lambda: 1}, 1),
        ({"get_server_pid": lambda: 2}, 2),
        ({"thread_id": lambda: 3}, 3),
        ({"info": SimpleNamespace(backend_pid=4)}, 4),
        ({"driver_connection": SimpleNamespace(thread_id=lambda: 5)}, 5),
        ({"info": {}}, None),
        ({}, None),
    ],
)
def test_the_sessions_number_is_found_whatever_class_wraps_the_connection(attributes: dict, number: object) -> None:
    assert sessions.backend_of(SimpleNamespace(**attributes)) == number


def test_the_sizes_of_a_pool_are_its_drivers_or_sqlalchemys() -> None:
    psycopg2_pool = made_by("psycopg2.pool", minconn=2, maxconn=5, _used={1: 1})
    psycopg_pool = made_by(
        "psycopg_pool.pool", max_size=4, get_stats=lambda self: {"pool_size": 4, "pool_available": 1}
    )
    assert pool_sizes.sizes(psycopg2_pool) == (2, 3, 1)
    assert pool_sizes.sizes(psycopg_pool) == (4, 0, 3)
    assert pool_sizes.driver_pool_sizes(made_by("asyncpg.pool")) is None
    assert pool_sizes.driver_pool_sizes(None) is None
    pools = importlib.import_module("sqlalchemy.pool")
    assert pool_sizes.sizes(pools.QueuePool(lambda: sqlite3.connect(":memory:"), pool_size=3)) == (3, 10, 0)
    assert pool_sizes.sizes(pools.NullPool(lambda: sqlite3.connect(":memory:"))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("module", "is_pools"),
    [("psycopg_pool.pool", True), ("psycopg2.pool", True), ("asyncpg.pool", True), ("psycopg2", False), ("app", False)],
)
def test_connections_that_a_drivers_pool_opens_are_told_from_the_apps(module: str, is_pools: bool) -> None:
    assert drivers.is_pool_module(module) is is_pools


def test_the_logs_are_searched_for_the_drivers_errors() -> None:
    assert set(drivers.ERRORS) < set(log_patterns.DRIVER_ERRORS)
