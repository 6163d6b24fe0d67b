"""The kind of a plan is stored in each recording; for a recording of format 1 it is derived."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from connleak.model.addresses import HostPort
from connleak.model.errors import Error
from connleak.model.recording import Machine
from connleak.recording import reader
from connleak.recording.writer import Writer
from support.plans import plan

OLD = [
    ({"target": "missing_remove"}, "target"),
    ({"target": "app"}, "app"),
    ({"target": "app", "app": "", "listen": HostPort("10.0.0.1", 7700)}, "remote"),
    ({"target": "watch", "app": "", "load": "none", "window": 60.0}, "watch"),
    ({"target": "locust", "app": ""}, "follow"),
    ({"target": "probe", "load": "none"}, "probe"),
]


@pytest.mark.parametrize(("changes", "kind"), OLD, ids=[kind for _, kind in OLD])
def test_the_kind_of_a_plan_of_format_1_is_derived(tmp_path: Path, changes: dict[str, object], kind: str) -> None:
    with Writer(tmp_path / "run", plan(**changes), Machine()):
        pass
    path = tmp_path / "run" / "plan.json"
    stored = json.loads(path.read_text()) | {"format": 1}
    del stored["kind"]
    path.write_text(json.dumps(stored))
    assert reader.read_plan(path.parent).kind == kind


def test_a_stored_kind_is_not_derived(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(kind="follow"), Machine()):
        pass
    assert reader.read_plan(tmp_path / "run").kind == "follow"


def test_an_unknown_kind_is_an_error(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(), Machine()):
        pass
    path = tmp_path / "run" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "guess"}))
    with pytest.raises(Error, match="damaged"):
        reader.read_plan(path.parent)


def test_a_plan_of_the_present_format_without_a_kind_is_an_error(tmp_path: Path) -> None:
    with Writer(tmp_path / "run", plan(), Machine()):
        pass
    path = tmp_path / "run" / "plan.json"
    stored = json.loads(path.read_text())
    del stored["kind"]
    path.write_text(json.dumps(stored))
    with pytest.raises(Error, match="missing required field `kind`"):
        reader.read_plan(path.parent)
