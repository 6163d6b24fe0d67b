"""The format of the messages: events as flat lists of numbers, stacks and requests by number.

Two events occur per request, so they are flat lists of integers, which JSON writes fastest: `checkouts` repeats
[at, number, thread, backend, pool, stack, request], `checkins` and `collected` repeat [at, number]; `at` is in
microseconds, and -1 means none. All other events are [at, kind, facts]. `collectors/schema.py` is the other end.
"""

import sys

from . import holders
from .drivers import UNWATCHED
from .stacks import resolve

BATCH = 300
MAX_REQUESTS = 20000
"""Distinct requests; where the framework gives paths instead of routes, there may be any number."""
MAX_REQUEST = 300
"""Characters of a request's name: with very long names a batch would not fit into one message."""


class Numbering:
    """The numbers of stacks and requests; the new ones go out with the next message."""

    def __init__(self):
        self.stacks = {}
        self.requests = {"": 0}
        self.new_stacks = {}
        self.new_requests = {}

    def stack(self, frames):
        """Return the number of a stack; -1 if it has no line of the app."""
        if not frames:
            return -1
        if len(frames) == 2:
            key = (id(frames[0]), frames[1])
        elif len(frames) == 4:
            key = (id(frames[0]), frames[1], id(frames[2]), frames[3])
        else:
            key = (id(frames[0]), frames[1], id(frames[2]), frames[3], id(frames[4]), frames[5])
        entry = self.stacks.get(key)
        if entry is None:
            # `frames` is kept, so that the code objects live on and their ids stay unique
            entry = self.stacks[key] = (len(self.stacks), frames)
            self.new_stacks[entry[0]] = resolve(frames)
        return entry[0]

    def request(self, name):
        number = self.requests.get(name)
        if number is None:
            if len(self.requests) >= MAX_REQUESTS:
                return 0
            number = self.requests[name] = len(self.requests)
            self.new_requests[number] = name[:MAX_REQUEST]
        return number

    def unsent(self):
        """Return the new stacks and requests, as each message carries them."""
        return {"stacks": self.new_stacks, "requests": self.new_requests}

    def mark_sent(self):
        self.new_stacks = {}
        self.new_requests = {}


def encode_events(events, numbering):
    """Return a message's lists for a batch of events."""
    checkouts, checkins, collected, others = [], [], [], []
    stack, request = numbering.stack, numbering.request
    for event in events:
        if type(event) is not tuple:
            connection = event.connection
            backend = connection.backend
            checkouts += (
                int(event.at * 1e6),
                event.number,
                event.thread.ident,
                -1 if backend is None else backend,
                connection.pool,
                stack(event.frames),
                request(event.request),
            )
            continue
        at, kind, facts = event
        if kind is None:
            checkins += (int(at * 1e6), facts)
        elif kind == "collected":
            collected += (int(at * 1e6), facts)
        else:
            facts = dict(facts)
            if "frames" in facts:
                facts["at"] = stack(facts.pop("frames"))
            others.append([at, kind, facts])
    return {"checkouts": checkouts, "checkins": checkins, "collected": collected, "events": others}


def encode_holders(state, numbering):
    """Return the holder table as messages of a hundred rows each."""
    unwatched = [name for name in UNWATCHED if name in sys.modules]
    rows = holders.rows(state, numbering.stack)
    parts = [rows[start : start + 100] for start in range(0, len(rows), 100)] or [[]]
    return [
        {"rows": part, "dropped": state.dropped, "unwatched": unwatched, "final": part is parts[-1]} for part in parts
    ]
