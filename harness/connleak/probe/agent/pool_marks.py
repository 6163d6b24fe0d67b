"""The pools of a process: the line that made each one, noted without keeping the pool alive."""

import sys
import weakref

from .stacks import capture
from .state import current, monotonic


class PoolMark:
    """A pool, by a weak reference, and the stack that made it."""

    __slots__ = ("created", "frames", "number", "ref", "used")

    def __init__(self, pools, number, pool, frames):
        key = id(pool)

        def gone(ref):
            mark = pools.get(key)
            if mark is not None and mark.ref is ref:
                del pools[key]

        self.number = number
        self.ref = weakref.ref(pool, gone)
        self.frames = frames
        self.created = monotonic()
        self.used = False


def mark_of(state, pool):
    """Return the pool's mark; a pool that existed before the probe gets one without a line."""
    if pool is None:
        return None
    mark = state.pools.get(id(pool))
    if mark is None or mark.ref() is not pool:
        mark = state.pools[id(pool)] = PoolMark(state.pools, next(state.numbers), pool, [])
    return mark


def wrap_new(Pool):
    """Mark each pool when it is made.

    This wraps __new__, not __init__: create_engine() reads the argument names of __init__ from its code object, and
    rejects `echo_pool` and others if that is a wrapper's.
    """
    original = Pool.__new__

    def __new__(cls, *args, **kwargs):
        self = original(cls) if original is object.__new__ else original(cls, *args, **kwargs)
        try:
            state = current()
            frames = capture(sys._getframe(1))
            state.pools[id(self)] = PoolMark(state.pools, next(state.numbers), self, frames)
        except Exception:
            pass
        return self

    Pool.__new__ = __new__
