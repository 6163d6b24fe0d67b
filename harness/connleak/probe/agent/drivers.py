"""The table of database drivers: one entry each, with everything about the driver that other modules look up.

Imports nothing. To add a driver: an entry here, its hook in `driver_connects` or `driver_pools`, and the hook's row in
`WATCHED`. connleak itself reads `ERRORS` from here.
"""

SERVER_REFUSALS = (
    "too many clients already",
    "remaining connection slots are reserved",
    "Too many connections",
    "too many connections for",
)
"""Errors of PostgreSQL and MySQL at their limit: psycopg2 gives no SQLSTATE when connecting, so the text decides."""

LIBPQ_ERRORS = (
    "lost synchronization with server",
    "decryption failed or bad record mac",
    "server closed the connection unexpectedly",
)


class Driver:
    """One driver."""

    __slots__ = ("errors", "is_closed", "modules", "name", "pool_module", "pool_sizes", "session_number")

    def __init__(
        self, name, modules=(), session_number=None, is_closed=None, pool_module="", pool_sizes=None, errors=()
    ):
        self.name = name
        """The module that an app imports."""
        self.modules = modules
        """The modules with a hook in `WATCHED`; without any, the probe cannot see this driver's direct connections."""
        self.session_number = session_number
        """Function that returns the server's number of a connection, or raises AttributeError."""
        self.is_closed = is_closed
        """Function that returns whether a connection has been closed; None where `close()` itself is wrapped."""
        self.pool_module = pool_module
        """The module, or package, of the driver's own pools: connections that it opens belong to a pool."""
        self.pool_sizes = pool_sizes
        """Function that returns (size, overflow, checked out) of one of those pools."""
        self.errors = errors
        """Messages about a misused connection; connleak counts them in the app's log."""


def psycopg_pool_sizes(pool):
    stats = pool.get_stats()
    return pool.max_size, 0, stats.get("pool_size", 0) - stats.get("pool_available", 0)


def psycopg2_pool_sizes(pool):
    return pool.minconn, pool.maxconn - pool.minconn, len(pool._used)


def mysqldb_is_closed(raw):
    try:
        raw.thread_id()
    except Exception:
        return True
    return False


def thread_id(raw):
    return raw.thread_id()


DRIVERS = (
    Driver(
        "psycopg2",
        modules=("psycopg2", "psycopg2.pool"),
        session_number=lambda raw: raw.get_backend_pid(),
        is_closed=lambda raw: bool(raw.closed),
        pool_module="psycopg2.pool",
        pool_sizes=psycopg2_pool_sizes,
        errors=("PGRES_TUPLES_OK and no message from the libpq", *LIBPQ_ERRORS),
    ),
    Driver(
        "asyncpg",
        modules=("asyncpg",),
        session_number=lambda raw: raw.get_server_pid(),
        is_closed=lambda raw: raw.is_closed(),
        pool_module="asyncpg.pool",
        errors=("another operation is in progress",),
    ),
    Driver(
        "pymysql",
        modules=("pymysql",),
        session_number=thread_id,
        is_closed=lambda raw: not raw.open,
        errors=("Packet sequence number wrong",),
    ),
    Driver("MySQLdb", modules=("MySQLdb",), session_number=thread_id, is_closed=mysqldb_is_closed),
    Driver(
        "psycopg",
        modules=("psycopg",),
        session_number=lambda raw: raw.info.backend_pid,
        is_closed=lambda raw: bool(raw.closed),
        errors=("another command is already in progress", *LIBPQ_ERRORS),
    ),
    Driver("psycopg_pool", modules=("psycopg_pool",), pool_module="psycopg_pool", pool_sizes=psycopg_pool_sizes),
    Driver(
        "sqlite3",
        modules=("sqlite3",),
        errors=(
            "SQLite objects created in a thread can only be used in that same thread",
            "Cannot operate on a closed database",
            "cannot start a transaction within a transaction",
            "cannot commit - no transaction is active",
        ),
    ),
    Driver("pg8000"),
    Driver("aiomysql"),
    Driver("pgdb"),
    Driver("psycopg2cffi"),
    Driver("aiopg"),
    Driver("mysql.connector"),
)

SESSION_NUMBERS = tuple(dict.fromkeys(driver.session_number for driver in DRIVERS if driver.session_number))
UNWATCHED = tuple(driver.name for driver in DRIVERS if not driver.modules)
PACKAGES = tuple(driver.name.partition(".")[0] for driver in DRIVERS)
ERRORS = tuple(dict.fromkeys(error for driver in DRIVERS for error in driver.errors))
_BY_PACKAGE = dict(zip(PACKAGES, DRIVERS))
_POOL_MODULES = tuple(driver.pool_module for driver in DRIVERS if driver.pool_module)


def driver_of(thing):
    """Return the driver that a connection's or a pool's class, or one of its base classes, comes from; else None."""
    for base in thing.__class__.__mro__:  # not type(): a transparent proxy, as wrapt's, has its object's __class__
        driver = _BY_PACKAGE.get(base.__module__.partition(".")[0])
        if driver is not None:
            return driver
    return None


def is_pool_module(module):
    """Return whether a module belongs to a driver's own pools."""
    return module in _POOL_MODULES or module.partition(".")[0] in _POOL_MODULES
