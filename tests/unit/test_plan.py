"""Bad input gets one clear sentence that names the value, and the next command to type."""

from __future__ import annotations

import math
import socket
from pathlib import Path

import pytest
from connleak.model.errors import Error
from connleak.plan import catalog
from connleak.plan.addresses import hosts_of, parse_conninfo, parse_host_port
from connleak.plan.options import RunOptions
from connleak.plan.resolve import resolve
from connleak.plan.watch import WatchOptions, watch_plan
from connleak.processes.app import refuse_port_in_use
from connleak.processes.hosts import is_loopback, refuse_remote

GOOD = """
title = "A shop"
serve = "gunicorn -b {host}:{port} {module}:app"
[variants.buggy]
expect = "leak"
kinds = ["held"]
"""


def refused(**options: object) -> Error:
    with pytest.raises(Error) as caught:
        resolve(RunOptions(**options))
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


def test_a_target_becomes_a_plan_with_its_variants_values() -> None:
    made, secrets = resolve(RunOptions(target="listen_held:fixed", users=3, load=0.5))
    assert (made.target, made.variant, made.users, made.phases.load) == ("listen_held", "fixed", 3, 0.5)
    assert "fixed:app" in made.app and made.url in made.app.replace("-b ", "http://")
    assert made.scenario.endswith("scenarios/open_streams.py")
    assert secrets.database is None


def test_a_target_without_variant_is_buggy_and_a_control_where_there_is_no_bug() -> None:
    assert resolve(RunOptions(target="missing_remove"))[0].variant == "buggy"
    assert resolve(RunOptions(target="pool_too_small"))[0].variant == "control"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either a target or --app"),
        ({"target": "missing_remov"}, "did you mean 'missing_remove'?"),
        ({"target": "missing_remove:fixd"}, "did you mean 'fixed'?"),
        ({"target": "missing_remove", "load": -1.0}, "--load is -1"),
        ({"target": "missing_remove", "load": float("inf")}, "--load is inf"),
        ({"target": "missing_remove", "drain": 0.0}, "--drain is 0"),
        ({"target": "missing_remove", "users": 0}, "--users is 0"),
        ({"target": "missing_remove", "cycles": -2}, "--cycles is -2: expected a whole number >= 1"),
        ({"target": "missing_remove", "load": float("nan")}, "--load is nan"),
        ({"target": "missing_remove", "users": "8"}, "--users is 8: expected a whole number"),
        ({"target": "missing_remove", "gc": "often"}, "--gc is often: choose from normal, off, eager"),
        ({"target": "missing_remove", "expect_workers": 2}, "--expect-workers requires --master-bind"),
        ({"listen": "127.0.0.1:7700"}, "needs the address of the app's database"),
        ({"app": "x", "listen": "7700x"}, "is not of the form HOST:PORT"),
        ({"target": "missing_remove", "postgres": "mysql"}, "--postgres mysql"),
        ({"target": "missing_remove", "expect": "leek"}, "did you mean 'leak'?"),
        ({"target": "missing_remove", "locustfile": "no/such.py"}, "no such file"),
        ({"app": "'unclosed"}, "cannot be split"),
        ({"app": " "}, "--app is empty"),
        ({"app": "flask run", "cwd": "/no/such"}, "is not a directory"),
        ({"app": "flask run", "url": "127.0.0.1:80"}, "is not of the form"),
        ({"app": "flask run", "url": "http://127.0.0.1:99999"}, "is not of the form"),
        ({"app": "flask run", "url": "http://[::1"}, "is not of the form"),
        ({"app": "flask run", "url": "http://example.org:80"}, "example.org is not on this machine"),
        ({"app": "flask run", "locustfile": "x.py"}, "requires --url"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_its_value(options: dict, words: str) -> None:
    assert words in refused(**options).message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": -3.0}, "--for is -3: expected a number of seconds > 0"),
        ({"seconds": 0.0}, "--for is 0: expected a number of seconds > 0"),
        ({"window": math.inf}, "--window is inf: expected a number of seconds > 0"),
        ({"every": math.nan}, "--every is nan: expected a number of seconds > 0"),
        ({"max_idle": -1}, "--max-idle is -1: expected a whole number >= 0"),
    ],
)
def test_a_watch_with_an_invalid_value_is_refused(options: dict, message: str) -> None:
    values = {"address": "postgresql://127.0.0.1/shop", "window": 60.0, "every": 1.0, **options}
    with pytest.raises(Error) as raised:
        watch_plan(WatchOptions(**values))
    assert raised.value.message == message


def test_an_app_of_ones_own_becomes_a_plan(tmp_path: Path) -> None:
    made, secrets = resolve(
        RunOptions(app="gunicorn 'my shop:app'", cwd=str(tmp_path), url="http://127.0.0.1:8000/", env={"A": "b=c"},
                postgres="postgresql://u:secret@127.0.0.1/db")
    )  # fmt: skip
    assert made.cwd == str(tmp_path)
    assert made.url == "http://127.0.0.1:8000"
    assert secrets.env == {"A": "b=c"} and made.env == {"A": "b=c"}
    assert made.database.source == "url"
    assert secrets.database is not None and secrets.database.arguments["password"] == "secret"
    assert "secret" not in str(made)


def test_an_app_without_address_gets_no_load() -> None:
    assert resolve(RunOptions(app="python worker.py"))[0].load == "none"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = ", "is not valid TOML"),
        (GOOD.replace("expect", "expected"), "unknown field `expected`"),
        (GOOD.replace("expect", "expected"), "known keys: expect, kinds, listens"),
        (GOOD.replace('"leak"', '"leaks"'), "$.variants[...].expect"),
        (GOOD.replace('"held"', '"hold"'), "'hold' is not a finding kind"),
        (GOOD.replace("buggy", "bugy"), "there is no bugy.py beside it"),
        (GOOD.replace('title = "A shop"', ""), "missing required field `title`"),
        (GOOD.replace("expect", 'name = "x"\nexpect'), "unknown field `name`"),
        (f'name = "x"\n{GOOD}', "unknown field `name`"),
        (f"usrs = 3\n{GOOD}", "unknown field `usrs`; known keys: database, hours, listens, load"),
        ('title = "A"\nserve = "x"\nvariants = 3\n', "Expected `object`, got `int` - at `$.variants`"),
        ('title = "A"\nserve = "x"\n[variants]\n', "[variants] is empty"),
    ],
)
def test_a_broken_target_toml_is_told_with_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "buggy.py").touch()
    path = tmp_path / "target.toml"
    path.write_text(text)
    with pytest.raises(Error) as caught:
        catalog.read_target(path)
    assert str(path) in caught.value.message
    assert words in caught.value.message


def test_every_target_in_the_corpus_is_whole() -> None:
    for target in catalog.targets().values():
        assert (Path(target.folder) / "README.md").exists(), target.name
        leaking = {variant.module for variant in target.variants.values() if variant.expect == "leak"}
        for name, variant in target.variants.items():
            text = (Path(target.folder) / f"{variant.module}.py").read_text()
            if variant.expect == "leak":
                assert "# leak: " in text, f"{target.name}:{name} marks no line"
            elif variant.module not in leaking:  # a release that mends it runs the same file
                assert "# leak" not in text, f"{target.name}:{name} marks a line but leaks not"


def test_scenarios_are_named_in_two_words_and_found() -> None:
    assert catalog.scenario("steady_load").name == "steady_load.py"
    with pytest.raises(Error, match="did you mean 'steady_load'"):
        catalog.scenario("steady_loud")


def test_a_port_in_use_is_told_before_anything_starts() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(Error, match=f"port {port} of 127.0.0.1 is in use"):
            refuse_port_in_use(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "/var/run/postgresql"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


def test_a_database_of_others_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(Error, match=r"192\.0\.2\.7 is not on this machine"):
        refuse_remote(hosts_of({"host": "127.0.0.1,192.0.2.7"}), ())
    refuse_remote(hosts_of({"host": "192.0.2.7"}), ("192.0.2.7",))
    with pytest.raises(Error, match=r"192\.0\.2\.8"):
        refuse_remote(["192.0.2.8"], ("192.0.2.7",))


def test_an_address_with_a_sqlalchemy_driver_is_understood_and_a_broken_one_keeps_its_secret() -> None:
    assert parse_conninfo("postgresql+psycopg2://u:p@127.0.0.1:5433/db")["port"] == "5433"
    with pytest.raises(Error) as caught:
        parse_conninfo("postgresql://u:secret@127.0.0.1/db?colour=red")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("7700", "127.0.0.1", 7700), (":7700", "127.0.0.1", 7700), ("10.0.0.1:7700", "10.0.0.1", 7700),
     ("[::1]:7700", "::1", 7700)],
)  # fmt: skip
def test_an_address_has_a_host_and_a_port(text: str, host: str, port: int) -> None:
    found = parse_host_port(text, "--listen")
    assert (found.host, found.port) == (host, port)
    assert parse_host_port(str(found), "--listen") == found


@pytest.mark.parametrize(("text", "rate"), [("20/s", 20.0), ("20", 20.0), ("1200/min", 20.0), ("72000/h", 20.0)])
def test_a_rate_of_requests_is_understood(text: str, rate: float) -> None:
    assert resolve(RunOptions(target="missing_remove", at_rate=text))[0].at_rate == rate


@pytest.mark.parametrize("text", ["fast", "20/week", "-1/s", "0", "inf/s"])
def test_a_rate_that_makes_no_sense_is_refused(text: str) -> None:
    assert f"--at-rate {text}" in refused(target="missing_remove", at_rate=text).message


@pytest.mark.parametrize(("text", "rate"), [("1/10000", 1e-4), ("0.001", 1e-3), ("2/1000", 2e-3)])
def test_a_sensitivity_is_understood(text: str, rate: float) -> None:
    assert resolve(RunOptions(target="missing_remove", sensitivity=text))[0].sensitivity == pytest.approx(rate)


@pytest.mark.parametrize("text", ["none", "0", "2", "1/0", "-1/10", "1/1e9"])
def test_a_sensitivity_that_makes_no_sense_is_refused(text: str) -> None:
    assert f"--sensitivity {text}" in refused(target="missing_remove", sensitivity=text).message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"canary": True, "probe": "off"}, "--canary requires a probe"),
        ({"max_idle": 5}, "--max-idle applies only with --probe off"),
        ({"max_idle": -1, "probe": "off"}, "--max-idle is -1"),
        ({"limit": 0.0}, "--limit is 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict, words: str) -> None:
    assert words in refused(target="missing_remove", **options).message


def test_a_job_only_app_has_no_requests_to_count() -> None:
    assert "--sensitivity counts requests" in refused(target="background_loop", sensitivity="1/100").message
