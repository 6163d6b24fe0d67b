"""The holder table of a process: every checkout that is out, every pool with its idle sessions, as they are now."""

import sys

from . import driver_pools, workers
from . import stacks as frames


def rows(state, stack_number):
    """Returns a row for each holder and each pool; stacks are named by their numbers."""
    running = sys._current_frames()
    found = [holder_row(checkout, running, stack_number) for checkout in list(state.checkouts.values())]
    return found + pool_rows(state, stack_number)


def holder_row(checkout, running, stack_number):
    name, alive, now = whereabouts(checkout, running)
    return {
        "row": "holder",
        "checkout": checkout.number,
        "backend": checkout.connection.backend,
        "since": round(checkout.at, 4),
        "at": stack_number(checkout.frames),
        "thread": checkout.thread.ident,
        "thread_name": str(name)[:200],
        "thread_alive": alive,
        "task": checkout.task is not None,
        "now": stack_number(now),
        "pool": checkout.connection.pool,
        "source": checkout.connection.source,
        "request": checkout.request[:300],
    }


def whereabouts(checkout, running):
    """Returns (name, alive, frames now) of the thread, greenlet or task that took it."""
    thread = checkout.thread
    if checkout.task is not None:
        task = checkout.task()
        if workers.is_over(task):
            return (workers.task_name(task) if task is not None else "a task"), False, []
        return workers.task_name(task), True, workers.where_task_is(task)
    if thread.alive() is None:
        return thread.name, False, []
    frame = running.get(thread.ident)
    return thread.name, True, frames.capture(frame) if frame is not None else []


def pool_rows(state, stack_number):
    """Returns a row for each live pool; idle sessions of pools that are gone stand in one row of number 0."""
    idle = {}
    for connection in list(state.connections.values()):
        if connection.checkout is None and connection.backend is not None and connection.process == state.pid:
            idle.setdefault(connection.pool, []).append(connection.backend)
    found = []
    for mark in list(state.pools.values()):
        pool = mark.ref()
        if pool is None:
            continue
        size, kind, overflow, out = sizes(pool)
        found.append(
            {
                "row": "pool",
                "pool": mark.number,
                "kind": kind,
                "size": size,
                "max_overflow": overflow,
                "timeout": getattr(pool, "_timeout", 0.0),
                "checked_out": out,
                "idle": idle.pop(mark.number, []),
                "at": stack_number(mark.frames),
                "created": round(mark.created, 4),
                "used": mark.used,
            }
        )
    left = [backend for backends in idle.values() for backend in backends]
    if left:
        found.append({"row": "pool", "pool": 0, "kind": "gone", "size": 0, "idle": left, "at": -1, "created": 0.0})
    return found


def sizes(pool):
    """Returns (idle connections that it may keep, -1 for as many as it had; class; how many beyond; counted as out)."""
    kind = type(pool).__name__
    figures = driver_pools.figures(pool)
    if figures is not None:
        return figures[0], kind, figures[1], figures[2]
    names = [base.__name__ for base in type(pool).__mro__]
    out = pool.checkedout() if hasattr(pool, "checkedout") else 0
    if "QueuePool" in names:
        return (pool.size() or -1), kind, pool._max_overflow, out
    return (0 if "NullPool" in names else 1), kind, 0, out
