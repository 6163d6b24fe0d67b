"""What a probe may say, and what of it is kept."""

from __future__ import annotations

import json

import pytest
from build import plan
from connleak.collectors.decoder import MessageDecoder
from connleak.collectors.probe_connection import ProbeConnection
from connleak.collectors.schema import message
from connleak.model.recording import Machine
from connleak.processes.decoding import InvalidMessage
from connleak.recording.reader import read
from connleak.recording.writer import Writer

LARGEST = 2**63 - 1


@pytest.mark.parametrize("backend", [-2, -2_000_000_000, -LARGEST - 1, LARGEST])
def test_a_session_may_have_any_number_that_a_driver_gives(tmp_path, backend: int) -> None:
    said = {
        "checkouts": [1, 1, 7, backend, 1, 0, 0, 2, 2, 7, -1, 1, 0, 0],
        "events": [[0.0, "connect", {"backend": backend}]],
        "rows": [{"row": "pool", "pool": 1, "kind": "QueuePool", "size": 5, "idle": [backend]}],
    }
    with Writer(tmp_path / "run", plan(), Machine()) as writer:
        events = MessageDecoder(writer, 0.0, tmp_path).events(
            ProbeConnection(1, "app", None), message(json.dumps(said).encode())
        )
        for event in events:
            writer.append("events", event)
    found = {(event.kind, event.backend) for event in read(tmp_path / "run").events}
    assert found == {("connect", backend), ("checkout", backend), ("checkout", None)}


def test_a_number_of_a_session_that_cannot_be_written_down_is_nonsense() -> None:
    with pytest.raises(InvalidMessage):
        message(json.dumps({"checkouts": [1, 1, 7, -LARGEST - 2, 1, 0, 0]}).encode())
