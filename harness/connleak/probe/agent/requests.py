"""The request that a checkout serves, as `GET /users/<int:number>`, from the framework's own context if it has one.

Flask and web.py keep the current request where it can be read; for Django and Starlette (thus FastAPI too) the one
function that every request goes through is wrapped. Only a request's method and route are kept.
"""

import contextvars
import functools

sources = []  # type: list
"""Functions that return the current request or job, or an empty string."""
_scope = contextvars.ContextVar("connleak_scope", default=None)
_django = contextvars.ContextVar("connleak_django", default=None)


def current():
    """Return the method and route of the request that this thread or task serves, else an empty string."""
    for source in sources:
        name = source()
        if name:
            return name
    return ""


def watch_flask(module):
    """Read the context variable in which Flask (2.2 or newer) keeps its request."""
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
    """Read web.py's `ctx`, which is emptied after each request."""
    context = module.ctx

    def webpy():
        method = context.get("method")
        return method + " " + context.get("path", "") if method else ""

    sources.append(webpy)


def watch_django(module):
    """Wrap the functions, sync and async, that turn a request into a response."""
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
    """Wrap the application's call; the scope has the route once it has been matched."""
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
