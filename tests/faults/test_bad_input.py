"""All input with any content: a clear error or a right result, no traceback, no wrong verdict.

CONNLEAK_FUZZ=20 makes twenty times as many inputs (`make faults-full`).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import socket
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from connleak.cli.options import pairs
from connleak.cli.output import escaped
from connleak.collectors.framing import HEAD, FrameReader, control_frame, frame
from connleak.collectors.probe_collector import Collector
from connleak.collectors.relay_server import RelayServer
from connleak.corpus import archive as packing
from connleak.judging import judge
from connleak.judging import suppressions as gate
from connleak.judging.holder_table import holder_table
from connleak.model.errors import Error
from connleak.model.recording import Machine, Site
from connleak.plan import catalog
from connleak.plan import project_file as project
from connleak.plan.addresses import check_loopback_url, parse_database, parse_host_port, parse_mysql, parse_postgres
from connleak.plan.fields import FIELDS as OPTIONS
from connleak.plan.locustfile import parse_request
from connleak.plan.openapi import requests_from_openapi
from connleak.plan.resolve import parse_request_rate, parse_sensitivity
from connleak.recording import reader
from connleak.recording.redaction import redact_passwords
from connleak.recording.writer import Writer
from connleak.render import page, text
from connleak.render import watch_screen as live
from connleak.render.github import workflow_commands
from connleak.render.issue import issue
from connleak.runner import report as results
from connleak.runner.source_lines import excerpts_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.builders import backend, holder, pool, recording
from support.paths import RECORDINGS

TIMES = int(os.environ.get("CONNLEAK_FUZZ", "1"))
ANY = st.text(max_size=200)
TAGS = """<script>alert(1)</script> <img/src=x/onerror=alert(1)> [/red] [bold]x ]]> --&gt; {{7*7}} </pre> ::error::x
%0A::error::x |x| ' OR'1'='1"""
CODES = ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", "\u202e", "\0", "```\n# x", "a\r::error::x", '" onclick="alert(1)']
HOSTILE = st.sampled_from([*TAGS.split(), *CODES])
WORDS = st.one_of(ANY, HOSTILE, st.tuples(HOSTILE, ANY).map("".join))
NUMBERS = st.tuples(st.sampled_from(["", "a:", "/x *", "-"]), st.text(st.characters(categories=["N"]))).map("".join)
"""Digits of every script, any number of them, as a port or a weight."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY, inner, max_size=4),
    max_leaves=12,
)
usual = settings(
    deadline=None,
    database=None,
    derandomize=TIMES == 1,  # the same inputs each time, where a build depends on it
    suppress_health_check=list(HealthCheck),
)
quick = settings(usual, max_examples=300 * TIMES)
slow = settings(usual, max_examples=40 * TIMES)


# recordings


@pytest.fixture(scope="module", params=["missing_remove-buggy", "missing_remove-fixed"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(a recording's folder, its outcome): of a leak, and of an app that returns every connection."""
    folder = tmp_path_factory.mktemp("kept") / request.param
    with packing.unpacked(RECORDINGS / f"{request.param}.tar.gz") as unpacked:
        shutil.copytree(unpacked, folder)
    return folder, judge(reader.read(folder)).outcome


def judged(folder: Path, outcome: str) -> None:
    """Read and judge: an error with a hint, or a verdict that is not wrong and has no failed check."""
    try:
        verdict = judge(reader.read(folder))
    except Error as error:
        assert error.message and error.hint
        return
    failed = [check.detail for check in verdict.checks if "this check failed" in check.detail]
    assert not failed, failed[0]
    wrong = "clean" if outcome == "leak" else "leak"
    assert verdict.outcome != wrong, (outcome, verdict.sentence)


def damaged(folder: Path, work: Path, name: str, data: bytes) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder, work)
    (work / name).write_bytes(data)
    return work


LINES = tuple(f"{name}.jsonl" for name in ("phases", "samples", "events", "snapshots", "stacks", "requests", "notes"))
NAMES = ("plan.json", "machine.json", *LINES)


@slow
@given(data=st.data())
def test_a_recording_cut_anywhere(kept, tmp_path_factory, data) -> None:
    folder, outcome = kept
    name = data.draw(st.sampled_from(NAMES))
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    judged(damaged(folder, tmp_path_factory.getbasetemp() / "cut", name, whole[:at]), outcome)


def test_a_plan_cut_at_every_byte(kept, tmp_path: Path) -> None:
    folder, _ = kept
    whole = (folder / "plan.json").read_bytes()
    work = damaged(folder, tmp_path / "work", "plan.json", whole)
    for at in range(len(whole) - 1):
        (work / "plan.json").write_bytes(whole[:at])
        with pytest.raises(Error):
            reader.read_plan(work)


@slow
@given(data=st.data())
def test_a_recording_whose_lines_are_swapped_doubled_or_broken(kept, tmp_path_factory, data) -> None:
    folder, _ = kept
    name = data.draw(st.sampled_from(LINES))
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    if len(lines) < 2:
        return
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    how = data.draw(st.sampled_from(["swap", "double", "break"]))
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    if how == "swap":
        lines[a], lines[b] = lines[b], lines[a]
    elif how == "double":
        lines.insert(b, lines[a])
    else:
        line = bytearray(lines[a])
        line[rng.randrange(len(line))] = rng.randrange(256)
        lines[a] = bytes(line)
    work = damaged(folder, tmp_path_factory.getbasetemp() / "lines", name, b"".join(lines))
    try:
        verdict = judge(reader.read(work))
    except Error:
        return
    assert not [check for check in verdict.checks if "this check failed" in check.detail]


@slow
@given(number=st.sampled_from([0, -1, 10**9, 2**31, 2**63, 1e308, 5e-324]), seed=st.integers(0, 10**6))
def test_a_recording_with_a_number_that_cannot_be(kept, tmp_path_factory, number, seed) -> None:
    folder, _ = kept
    rng = random.Random(seed)
    name = rng.choice(NAMES)
    whole = (folder / name).read_text()
    spots = [match for match in re.finditer(r"(?<=[:,\[])-?\d+(?:\.\d+)?", whole)]
    if not spots:
        return
    spot = rng.choice(spots)
    changed = whole[: spot.start()] + json.dumps(number) + whole[spot.end() :]
    work = damaged(folder, tmp_path_factory.getbasetemp() / "numbers", name, changed.encode())
    try:
        verdict = judge(reader.read(work))
    except Error:
        return
    failed = [check.detail for check in verdict.checks if "this check failed" in check.detail]
    assert not failed, failed[0]


@quick
@given(junk=st.binary(max_size=300), name=st.sampled_from(NAMES))
def test_junk_in_a_file_of_a_recording(tmp_path_factory, junk: bytes, name: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "junk"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(junk)
    with contextlib.suppress(Error):
        reader.read(folder)
    (folder / name).unlink()


# files that users write


@quick
@given(words=st.one_of(ANY, JSON.map(repr)))
def test_any_text_as_target_toml_and_connleak_toml(tmp_path_factory, words: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "toml"
    folder.mkdir(exist_ok=True)
    readers = (
        ("target.toml", lambda: catalog.read_target(folder / "target.toml")),
        ("connleak.toml", lambda: project.read(folder)),
        ("connleak.toml", lambda: project.suppressions(folder)),
    )
    for name, read in readers:
        (folder / name).write_text(words, encoding="utf-8", errors="replace")
        with contextlib.suppress(Error):
            read()
        (folder / name).unlink()


KEYS = st.sampled_from([*project.KEYS, "suppressions", "nothing"])


@quick
@given(table=st.dictionaries(KEYS, JSON, max_size=6))
def test_any_values_in_connleak_toml(table: dict) -> None:
    with contextlib.suppress(Error):
        project.options_of({"app": "x", **table}, Path("/nowhere/connleak.toml"))
    with contextlib.suppress(Error):
        gate.suppressions_of(table.get("suppressions", []), Path("/nowhere/connleak.toml"))


@quick
@given(document=JSON)
def test_any_openapi_document(document: object) -> None:
    with contextlib.suppress(Error):
        requests_from_openapi({"paths": document})
    with contextlib.suppress(Error):
        requests_from_openapi(
            {"paths": {"/a/{b}": {"get": document, "post": {"parameters": document, "requestBody": document}}}}
        )


@quick
@given(words=WORDS | NUMBERS)
def test_any_words_of_an_option(words: str) -> None:
    tables = [field for field in OPTIONS if field.option.separator]
    readers = [parse_request, parse_sensitivity, parse_request_rate, lambda w: parse_host_port(w, "--listen"),
               lambda w: parse_postgres(w, ()), lambda w: parse_mysql(w, ()), lambda w: parse_database(w, ()),
               lambda w: check_loopback_url(w, "--url", ()), lambda w: catalog.find(w),
               *(lambda w, field=field: dict(pairs(field, (w,))) for field in tables)]  # fmt: skip
    for read in readers:
        with contextlib.suppress(Error):
            read(words)


@quick
@given(secret=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6, max_size=20), rest=ANY)
def test_a_password_in_an_address_is_never_shown(secret: str, rest: str) -> None:
    secret = f"Zq{secret}qZ"
    for form in (
        "postgresql://user:{}@host/db",
        "PGPASSWORD={}",
        "mysql+pymysql://u:{}@127.0.0.1:3306/x?a=b",
        "redis://:{}@h",
    ):
        assert secret not in redact_passwords(f"{rest} {form.format(secret)} {rest}")


# messages on a socket


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("collector")
    with (
        Writer(folder / "run", recording([[]] * 3).plan, Machine()) as writer,
        Collector(writer, folder, 0.0, folder) as made,
    ):
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            assert made.connections.handle(near, json.dumps({"hello": 4711, "token": made.connections.token}).encode())
            yield made, near, folder / "run"


MESSAGE_FIELDS = """hello token checkouts checkins collected events out waiting dropped answer first_exhaustion rows
final stacks requests t threadless unwatched row planted"""
FIELDS = st.dictionaries(
    st.sampled_from(MESSAGE_FIELDS.split()),
    JSON | st.lists(st.integers(-(2**70), 2**70), max_size=14),
    max_size=8,
)
OWN = st.fixed_dictionaries({}, optional={name: JSON for name in ("mac", "host", "challenge", "pong", "ports", "gone")})


@quick
@given(message=st.one_of(FIELDS.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)))
def test_any_message_of_a_process_that_said_hello(collector, message: bytes) -> None:
    made, line, _ = collector
    made.connections.handle(line, message)
    assert made.living(), "the process is still known"


def test_what_such_a_process_left_can_be_read(collector) -> None:
    _, _, folder = collector
    assert judge(reader.read(folder)).outcome == "inconclusive"


@quick
@given(message=st.binary(max_size=200) | FIELDS.map(lambda value: json.dumps(value).encode()))
def test_a_stranger_is_sent_away(collector, message: bytes) -> None:
    made, _, _ = collector
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        before = len(made.living())
        try:
            token = json.loads(message).get("token") == made.connections.token
        except (ValueError, AttributeError):
            token = False
        assert not token
        made.connections.handle(near, message)
        assert len(made.living()) == before


@quick
@given(stream=st.binary(max_size=400), cuts=st.lists(st.integers(1, 50), max_size=8))
def test_any_stream_is_cut_into_frames_or_refused(stream: bytes, cuts: list[int]) -> None:
    frames, found, rest = FrameReader(), [], stream
    try:
        for size in [*cuts, len(stream)]:
            found += frames.feed(rest[:size])
            rest = rest[size:]
    except ValueError:
        return
    assert b"".join(HEAD.pack(len(payload), channel) + payload for channel, payload in found) == stream[: sum(
        HEAD.size + len(payload) for _, payload in found
    )]  # fmt: skip


@settings(quick, max_examples=100 * TIMES)
@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.tuples(st.integers(0, 3), st.binary(max_size=60)).map(lambda pair: frame(*pair)),
            JSON.map(lambda value: frame(0, json.dumps(value).encode())),
            OWN.map(lambda message: control_frame(**message)),
        ),
        max_size=6,
    )
)
def test_a_relay_without_the_secret_gets_nowhere(data: list[bytes]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        relays = RelayServer(listener, "a secret of sixteen or more", {"probe": "pool"})
        with socket.create_connection(listener.getsockname()) as stranger:
            connection = relays.accept()
            assert connection is not None
            for message in data:
                stranger.sendall(message)
            stranger.shutdown(socket.SHUT_WR)
            while connection in relays.relays:
                assert relays.receive(connection).messages == []
            assert relays.hosts() == []
            connection.close()


# output


def hostile(words: str, other: str):
    """A leak with any text from the server and the app: in queries, names, sites, requests, hosts."""
    row = msgspec.structs.replace(
        backend(1, xact=0.9, state="idle in transaction"), query=words, application_name=other
    )
    held = msgspec.structs.replace(
        holder(1, site=Site(words, 3, other)), request=words, thread_name=other, now=Site(other, 1, words)
    )
    made = recording([[row]] * 3, holders=[[held]] * 3, pools=[[pool(out=1)]] * 3)
    return msgspec.structs.replace(
        made, plan=msgspec.structs.replace(made.plan, app=words, argv=(other,), variant=other)
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append(tag)
        self.found += [name for name, _ in attrs if name.startswith("on")]


def tags(html: str) -> list[str]:
    parser = Tags()
    parser.feed(html)
    return parser.found


PLAIN = "words"


@slow
@given(words=WORDS, other=WORDS)
def test_data_never_becomes_a_tag_a_control_code_or_markup(words: str, other: str) -> None:
    made = hostile(words, other)
    verdict = judge(made)
    report = page.report(made, verdict, {}, {}, "")
    usual = hostile(PLAIN, PLAIN)
    assert sorted(tags(report)) == sorted(tags(page.report(usual, judge(usual), {}, {}, "")))

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, highlight=False, color_system=None)
    rows = holder_table(made, made.snapshots[-1])
    console.print(text.answer(made.plan, verdict, {}, where=escaped(words)))
    console.print(text.holders_of("now", 1.0, words, rows))
    console.print(live.holders(rows))
    console.print(live.applications({words: 1, other: 2}))
    data = screen.getvalue() + issue(made, verdict, excerpts_of(made.plan, verdict))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", data), ascii(data)

    xml = results.in_format("junit", [(made, verdict)], [Path("x")], False)
    ElementTree.fromstring(xml.partition("?>")[2])
    json.loads(results.in_format("sarif", [(made, verdict)], [Path("x")], False))
    for line in workflow_commands(made, verdict, "/nowhere"):
        assert "\n" not in line and "\r" not in line and line.startswith("::")
