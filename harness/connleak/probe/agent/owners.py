"""The owner of a checkout: a thread, a greenlet of gevent or eventlet, or an asyncio task; and whether it still runs.

All are referenced weakly. Where tasks or greenlets run, they are the owners, since thousands share one thread.
"""

import _thread
import sys
import weakref

from .stacks import DEPTH, app_frames, capture

# bound before gevent or eventlet replace it: the probe's thread is a real one
get_ident = _thread.get_ident

local = _thread._local()
_running_loop = None
_current_task = None
_current_greenlet = None


class Thread:
    """A thread's number and name; `alive()` is None once it has ended, because only its own storage holds the token."""

    __slots__ = ("alive", "ident", "name")

    def __init__(self, token):
        self.ident = get_ident()
        self.name = _thread_name(self.ident)
        self.alive = weakref.ref(token)


class Token:
    """An object in a thread's local storage, which the interpreter frees when the thread ends."""

    __slots__ = ("__weakref__",)


def watch_asyncio(module):
    """Distinguish tasks from now on; the two functions are in C and cost some 60 ns."""
    global _running_loop, _current_task
    _running_loop = module.events._get_running_loop
    _current_task = module.current_task


def watch_greenlets(module):
    """Distinguish greenlets from now on: gevent or eventlet is imported."""
    global _current_greenlet
    from greenlet import getcurrent

    _current_greenlet = getcurrent


def this_thread():
    """Return the object that stands for the calling thread."""
    try:
        return local.thread
    except AttributeError:
        local.token = token = Token()
        local.thread = thread = Thread(token)
        return thread


def this_task():
    """Return the current asyncio task or greenlet, None in a plain thread."""
    if _running_loop is not None and _running_loop() is not None:
        return _current_task()
    if _current_greenlet is not None:
        greenlet = _current_greenlet()
        return greenlet if greenlet.parent is not None else None
    return None


def weakly(task):
    """Return a weak reference to a task or greenlet, None for None."""
    return None if task is None else weakref.ref(task)


def is_over(task):
    """Return whether a task is done or a greenlet dead; None stands for one that was garbage collected."""
    if task is None:
        return True
    if hasattr(task, "done"):
        return task.done()
    return bool(getattr(task, "dead", False))


def task_name(task):
    """Return a task's or a greenlet's name."""
    if hasattr(task, "get_name"):
        return task.get_name()
    return getattr(task, "name", None) or type(task).__name__


def where_task_is(task):
    """Return the app's frames of a suspended task or greenlet, as `stacks.capture` does."""
    if not hasattr(task, "get_coro"):
        frame = getattr(task, "gr_frame", None)
        return capture(frame) if frame is not None else []
    chain = []
    awaited = task.get_coro()
    while awaited is not None and len(chain) < DEPTH:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            frame = getattr(awaited, "ag_frame", None)
        if frame is not None:
            chain.append(frame)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return app_frames(reversed(chain))


def _thread_name(ident):
    threading = sys.modules.get("threading")
    thread = getattr(threading, "_active", {}).get(ident)
    return getattr(thread, "name", "") or ""
