"""What a probe may say, and what of it is kept."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest
from connleak.collectors.decoder import MessageDecoder
from connleak.collectors.probe_connection import ProbeConnection
from connleak.collectors.schema import Message, message
from connleak.model.recording import Machine
from connleak.probe import agent
from connleak.processes.decoding import InvalidMessage
from connleak.recording.reader import read
from connleak.recording.writer import Writer
from support.plans import plan

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


def test_every_field_that_the_probe_sends_is_in_the_schema() -> None:
    state, numbering = agent.state.State(), agent.messages.Numbering()
    connection = agent.state.Connection(7, 1, "pool")
    agent.state.record_connect(state, 1, connection)
    frame = sys._getframe(0)
    agent.state.record_checkout(state, connection, frame)
    agent.state.report_other_process(state, connection, "taken", agent.stacks.capture(frame))
    agent.state.emit(state, "timeout", pool=1, seconds=1.0, nested=False, frames=[])
    [table] = agent.messages.encode_holders(state, numbering)
    agent.state.record_close(state, 1)
    events = agent.messages.encode_events(list(state.events), numbering)
    counts = {"out": 0, "waiting": 0, "dropped": 0, "threadless": False}
    strict = msgspec.json.Decoder(Message, strict=True)
    for sent in (
        events | counts | numbering.unsent(),
        table | {"first_exhaustion": "x", "t": 1.0},
        table | {"answer": 1},
    ):
        known = msgspec.to_builtins(strict.decode(json.dumps(sent)))
        assert unknown_fields(sent, known) == []


def unknown_fields(sent: Any, known: Any) -> list[str]:
    """Return the names of the fields that the decoder has dropped."""
    if isinstance(sent, dict):
        missing = [str(name) for name in sent if str(name) not in {str(name) for name in known}]
        inner = {str(name): value for name, value in known.items()}
        return missing + [name for key, value in sent.items() for name in unknown_fields(value, inner.get(str(key)))]
    if isinstance(sent, (list, tuple)):
        return [name for one, other in zip(sent, known or [], strict=False) for name in unknown_fields(one, other)]
    return []
