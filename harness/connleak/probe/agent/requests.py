"""Which request a checkout serves, as `GET /users/<int:number>`: read from the framework's own context variable.

Nothing is wrapped and nothing of the request is kept but two strings. Flask only, so far.
"""

_context = None


def watch_flask(module):
    """Finds the context variable that Flask (2.2 or newer) keeps its request in."""
    global _context
    from flask import globals as names

    _context = getattr(names, "_cv_request", None) or getattr(names, "_cv_app", None)


def current():
    """Returns method and route of the request that this thread or task serves, an empty string outside of any."""
    if _context is None:
        return ""
    request = getattr(_context.get(None), "request", None)
    if request is None:
        return ""
    rule = request.url_rule
    return request.method + " " + (rule.rule if rule is not None else request.path)
