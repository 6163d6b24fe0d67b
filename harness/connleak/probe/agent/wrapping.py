"""Wrapping the functions of a driver that return a connection, sync or async."""

import functools
import inspect
import sys

from . import sender
from .drivers import SERVER_REFUSALS
from .state import current, emit


def reporting(original, listener):
    """Return the function wrapped so that each connection it returns is reported to the listener.

    The listener gets (call, connection, caller's frame), where call is (original, args, kwargs).
    """
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def function(*args, **kwargs):
            caller = sys._getframe(1)
            try:
                connection = await original(*args, **kwargs)
            except Exception as error:
                report_refusal(error)
                raise
            listener((original, args, kwargs), connection, caller)
            return connection

    else:

        @functools.wraps(original)
        def function(*args, **kwargs):
            try:
                connection = original(*args, **kwargs)
            except Exception as error:
                report_refusal(error)
                raise
            call = (original, args, kwargs)
            if inspect.isawaitable(connection):
                return report_awaited(connection, listener, call, sys._getframe(1))
            listener(call, connection, sys._getframe(1))
            return connection

    return function


async def report_awaited(awaitable, listener, call, caller):
    try:
        connection = await awaitable
    except Exception as error:
        report_refusal(error)
        raise
    listener(call, connection, caller)
    return connection


def report_refusal(error):
    """If the server refuses connections at its limit, report it with a snapshot of the holder table."""
    try:
        text = str(error)
        for refusal in SERVER_REFUSALS:
            if refusal in text:
                state = current()
                emit(state, "refused", detail=refusal)
                sender.snapshot_at_first_exhaustion(state, "the server: " + refusal)
                return
    except Exception:
        pass
