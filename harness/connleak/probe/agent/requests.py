"""Which request a checkout serves, as `GET /users/<int:number>`, told by the framework's own context where it has one.

Flask and web.py keep the current request where it can be read; for Django and Starlette (so FastAPI, too) the one
function that every request goes through is wrapped. Nothing of a request is kept but two strings.
"""

import contextvars
import functools

sources = []  # type: list
"""Functions that return the name of what is being served now, an empty string for nothing."""
_scope = contextvars.ContextVar("connleak_scope", default=None)
_django = contextvars.ContextVar("connleak_django", default=None)


def current():
    """Returns method and route of the request that this thread or task serves, an empty string outside of any."""
    for source in sources:
        name = source()
        if name:
            return name
    return ""


def watch_flask(module):
    """Finds the context variable that Flask (2.2 or newer) keeps its request in."""
    from flask import globals as names

    context = getattr(names, "_cv_request", None) or getattr(names, "_cv_app", None)
    if context is None:
        return

    def flask():
        request = getattr(context.get(None), "request", None)
        if request is None:
            return ""
        rule = request.url_rule
        return request.method + " " + (rule.rule if rule is not None else request.path)

    sources.append(flask)


def watch_webpy(module):
    """Reads web.py's `ctx`, which it empties after each request."""
    context = module.ctx

    def webpy():
        method = context.get("method")
        return method + " " + context.get("path", "") if method else ""

    sources.append(webpy)


def watch_django(module):
    """Wraps the function that turns a request into a response, of both kinds."""
    handler = module.BaseHandler
    original, original_async = handler.get_response, handler.get_response_async

    @functools.wraps(original)
    def get_response(self, request):
        token = _django.set(request)
        try:
            return original(self, request)
        finally:
            _django.reset(token)

    @functools.wraps(original_async)
    async def get_response_async(self, request):
        token = _django.set(request)
        try:
            return await original_async(self, request)
        finally:
            _django.reset(token)

    handler.get_response, handler.get_response_async = get_response, get_response_async

    def django():
        request = _django.get()
        if request is None:
            return ""
        match = getattr(request, "resolver_match", None)
        return request.method + " " + ("/" + match.route if match is not None else request.path)

    sources.append(django)


def watch_starlette(module):
    """Wraps the application's call; the route's pattern is in the scope once it was found."""
    original = module.Starlette.__call__

    @functools.wraps(original)
    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            return await original(self, scope, receive, send)
        token = _scope.set(scope)
        try:
            return await original(self, scope, receive, send)
        finally:
            _scope.reset(token)

    module.Starlette.__call__ = __call__

    def starlette():
        scope = _scope.get()
        if scope is None:
            return ""
        path = getattr(scope.get("route"), "path", None) or scope.get("path", "")
        return scope.get("method", "WEBSOCKET") + " " + path

    sources.append(starlette)
