"""The locustfile of a session: one that exists, or one made from --request or an OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connleak.model.plan import Plan
from connleak.model.recording import NoteCode
from connleak.plan import locustfile, openapi
from connleak.plan.openapi_document import read_document
from connleak.processes.locust_load import Locustfile

NAME = "locustfile.py"


def locustfile_of(plan: Plan, folder: Path, note: Callable[[NoteCode, str], None]) -> Locustfile:
    """Return the plan's locustfile; one that is made is written into the recording, without its secrets."""
    requests, secrets = locustfile.with_references(plan.requests)
    variables = locustfile.references_in(requests)  # of --request alone: a document has no references
    if plan.openapi:
        budget = openapi.Budget()
        requests, variables = openapi.requests_from_openapi(read_document(plan.openapi, plan.remote), budget), set()
        for text in budget.notes():
            note(NoteCode.LOAD_LIMITED, text)
    if not requests:
        return Locustfile(plan.scenario, secrets)
    path = folder / NAME
    source = "--openapi" if plan.openapi else "--request"
    path.write_text(locustfile.render(requests, path.name, source, variables), encoding="utf-8")
    return Locustfile(str(path), secrets)
