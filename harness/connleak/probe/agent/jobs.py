"""The job that a checkout serves where there is no request: `task NAME`, `job NAME`, `message KIND`.

Celery, APScheduler and pyTelegramBotAPI each have one function that every job goes through; it is wrapped, and the
job's name is kept in a context variable while it runs. In an idle window all jobs have ended, like all requests.
"""

import contextvars
import functools

from . import requests

_job = contextvars.ContextVar("connleak_job", default="")


def running(name, function, *args, **kwargs):
    """Call the function as the job of that name."""
    token = _job.set(name)
    try:
        return function(*args, **kwargs)
    finally:
        _job.reset(token)


def add_job_source():
    """Make `requests.current()` consider jobs too."""
    if _job.get not in requests.sources:
        requests.sources.append(_job.get)


def watch_celery(module):
    """Wrap the function that makes a task's tracer."""
    original = module.build_tracer

    @functools.wraps(original)
    def build_tracer(name, *args, **kwargs):
        tracer = original(name, *args, **kwargs)

        @functools.wraps(tracer)
        def trace_task(*args, **kwargs):
            return running("task " + name, tracer, *args, **kwargs)

        return trace_task

    module.build_tracer = build_tracer
    add_job_source()


def watch_apscheduler(module):
    """Wrap APScheduler's run_job (3.x), before its executors import it."""
    original = module.run_job

    @functools.wraps(original)
    def run_job(job, *args, **kwargs):
        return running("job " + str(getattr(job, "name", "") or job), original, job, *args, **kwargs)

    module.run_job = run_job
    add_job_source()


def watch_telebot(module):
    """Wrap the function with which pyTelegramBotAPI's worker threads run each handler."""
    original = module.TeleBot._run_middlewares_and_handler

    @functools.wraps(original)
    def _run_middlewares_and_handler(self, message, *args, **kwargs):
        kind = getattr(message, "content_type", "") or type(message).__name__
        return running("message " + str(kind), original, self, message, *args, **kwargs)

    module.TeleBot._run_middlewares_and_handler = _run_middlewares_and_handler
    add_job_source()
