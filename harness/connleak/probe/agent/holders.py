"""The holder table of a process: every current checkout, and every pool with its idle sessions."""

import sys

from .owners import is_over, task_name, where_task_is
from .pool_sizes import sizes
from .stacks import capture


def rows(state, stack_number):
    """Return a row for each holder and each pool; stacks are given by number."""
    running = sys._current_frames()
    found = [holder_row(checkout, running, stack_number) for checkout in list(state.checkouts.values())]
    return found + pool_rows(state, stack_number)


def holder_row(checkout, running, stack_number):
    """Return the row of a checkout; `running` are the frames of the process's threads."""
    name, alive, now = owner_state(checkout, running)
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


def owner_state(checkout, running):
    """Return (name, alive, current stack) of the thread, greenlet or task that made the checkout."""
    thread = checkout.thread
    if checkout.task is not None:
        task = checkout.task()
        if is_over(task):
            return (task_name(task) if task is not None else "a task"), False, []
        return task_name(task), True, where_task_is(task)
    if thread.alive() is None:
        return thread.name, False, []
    frame = running.get(thread.ident)
    return thread.name, True, capture(frame) if frame is not None else []


def pool_rows(state, stack_number):
    """Return a row for each live pool; idle sessions of deleted pools share one row with number 0."""
    idle = {}
    for connection in list(state.connections.values()):
        if connection.checkout is None and connection.backend is not None and connection.process == state.pid:
            idle.setdefault(connection.pool, []).append(connection.backend)
    found = []
    for mark in list(state.pools.values()):
        pool = mark.ref()
        if pool is None:
            continue
        size, overflow, out = sizes(pool)
        found.append(
            {
                "row": "pool",
                "pool": mark.number,
                "kind": type(pool).__name__,
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
    of_deleted_pools = [backend for backends in idle.values() for backend in backends]
    if of_deleted_pools:
        found.append(
            {"row": "pool", "pool": 0, "kind": "gone", "size": 0, "idle": of_deleted_pools, "at": -1, "created": 0.0}
        )
    return found
