"""How many connections a pool may keep and lend, and how many it counts as checked out."""

from .drivers import driver_of


def driver_pool_sizes(pool):
    """Return (size, overflow, checked out) of a driver's own pool, None for anything else."""
    driver = driver_of(pool)
    return driver.pool_sizes(pool) if driver is not None and driver.pool_sizes is not None else None


def sizes(pool):
    """Return (size, overflow, checked out) of a pool; a size of -1 is unlimited."""
    found = driver_pool_sizes(pool)
    if found is not None:
        return found
    names = [base.__name__ for base in type(pool).__mro__]
    out = pool.checkedout() if hasattr(pool, "checkedout") else 0
    if "QueuePool" in names:
        return (pool.size() or -1), pool._max_overflow, out
    return (0 if "NullPool" in names else 1), 0, out
