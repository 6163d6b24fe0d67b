"""How the facts look when they leave: events in flat lists of numbers, stacks and requests by number.

Two events come with every request, so they are lists of whole numbers, which JSON writes fastest:
`taken` is [at, number, thread, backend, pool, stack, request] again and again, `returned` and `collected` are
[at, number] again and again; `at` is in microseconds, -1 stands for none. All others are [at, kind, facts].
"""

from . import holders
from . import stacks as frames

BATCH = 300
REQUESTS = 20000
"""Requests that are told apart; where the framework tells paths and no routes, there may be any number."""
LONGEST = 300
"""Characters of a request that are told: with very long ones a batch would not fit into one message."""


class Numbers:
    """Stacks and requests that this process has told, with their numbers; `new` goes out with the next message."""

    def __init__(self):
        self.stacks = {}
        self.requests = {"": 0}
        self.new_stacks = {}
        self.new_requests = {}

    def stack(self, found):
        """Returns the number of a stack; -1 where no line of the app is on it."""
        if not found:
            return -1
        if len(found) == 2:
            key = (id(found[0]), found[1])
        elif len(found) == 4:
            key = (id(found[0]), found[1], id(found[2]), found[3])
        else:
            key = (id(found[0]), found[1], id(found[2]), found[3], id(found[4]), found[5])
        entry = self.stacks.get(key)
        if entry is None:
            entry = self.stacks[key] = (len(self.stacks), found)  # `found` keeps the code objects: ids stay theirs
            self.new_stacks[entry[0]] = frames.resolve(found)
        return entry[0]

    def request(self, name):
        number = self.requests.get(name)
        if number is None:
            if len(self.requests) >= REQUESTS:
                return 0
            number = self.requests[name] = len(self.requests)
            self.new_requests[number] = name[:LONGEST]
        return number

    def fresh(self):
        """Returns the new stacks and requests, as every message bears them."""
        return {"stacks": self.new_stacks, "requests": self.new_requests}

    def told(self):
        self.new_stacks = {}
        self.new_requests = {}


def of_events(events, numbers):
    """Returns the message's lists for a batch of events."""
    taken, returned, collected, others = [], [], [], []
    stack, request = numbers.stack, numbers.request
    for event in events:
        if type(event) is not tuple:
            connection = event.connection
            backend = connection.backend
            taken += (
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
            returned += (int(at * 1e6), facts)
        elif kind == "collected":
            collected += (int(at * 1e6), facts)
        else:
            facts = dict(facts)
            if "frames" in facts:
                facts["at"] = stack(facts.pop("frames"))
            others.append([at, kind, facts])
    return {"taken": taken, "returned": returned, "collected": collected, "others": others}


def of_holders(state, numbers, unwatched):
    """Returns the parts of an answer that holds the whole holder table, a hundred rows each."""
    rows = holders.rows(state, numbers.stack)
    parts = [rows[start : start + 100] for start in range(0, len(rows), 100)] or [[]]
    return [
        {"rows": part, "dropped": state.dropped, "unwatched": unwatched, "final": part is parts[-1]} for part in parts
    ]
