"""One option table: the command line, connleak.toml and the Python API accept the same, and have the same defaults."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from connleak.cli.main import main
from connleak.cli.options import base_type
from connleak.model.errors import Error
from connleak.model.plan import Plan
from connleak.plan import project_file
from connleak.plan.fields import FIELDS, Field, choices
from connleak.plan.options import RunOptions
from connleak.plan.resolve import COPIED, OF_AN_APP, resolve
from connleak.recording.redaction import redact_plan

COMMANDS = ("run", "check", "compare")
NOT_OFFERED = {"target", "argv"}


def options_of(name: str) -> dict[str, click.Option]:
    """The options of a command by the name of the parameter."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return {param.name or "": param for param in command.params if isinstance(param, click.Option)}


def test_every_field_is_an_option() -> None:
    assert {field.name for field in FIELDS} | NOT_OFFERED == set(RunOptions.__struct_fields__)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_command_offers_what_the_table_says(command: str, field: Field) -> None:
    offered = options_of(command)
    own = {"compare": {"limit"}}.get(command, set())  # compare's limit is that of its rounds
    if command not in field.option.commands:
        assert field.name not in offered or field.name in own
        return
    found = offered[field.name]
    assert field.flag in found.opts
    assert found.help and found.help.startswith(field.option.help)
    assert found.multiple or found.default == field.default


def test_an_option_without_a_value_on_the_command_line_keeps_the_tables_default() -> None:
    for field in FIELDS:
        assert getattr(RunOptions(), field.name) == field.default


@pytest.mark.parametrize(("former", "flag"), [("--path", "--request"), ("--budget", "--max-idle")])
def test_the_former_names_are_names_of_the_same_option(former: str, flag: str) -> None:
    (found,) = [option for option in options_of("run").values() if flag in option.opts]
    assert found.opts == [flag, former]


def example(field: Field) -> object:
    """A value of an option's type."""
    words = choices(field.hint)
    kind = base_type(field.hint)
    return words[-1] if words else {str: "x", int: 12, float: 1.5, bool: True, tuple: ["x"], dict: {"A": "x"}}[kind]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_file_takes_the_options_that_the_table_says(field: Field) -> None:
    path = Path("/nowhere/connleak.toml")
    for name in field.names:
        table = {"app": "x", name: example(field)}
        if not field.option.in_file:
            with pytest.raises(Error, match=f"unknown key {name}"):
                project_file.options_of(table, path)
            continue
        found = getattr(project_file.options_of(table, path), field.name)
        relative = f"/nowhere/{example(field)}" if field.option.is_path else example(field)
        assert found == (tuple(relative) if isinstance(relative, list) else relative)


def test_a_path_in_the_file_is_relative_to_the_file_and_a_typed_one_to_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    (tmp_path / "app").mkdir()
    plan, _ = resolve(RunOptions(app="x", cwd="app", python="venv"))
    assert plan.interpreter == str(tmp_path / "venv/bin/python")
    read = project_file.options_of({"app": "x", "python": "venv", "cwd": "app"}, tmp_path / "connleak.toml")
    assert (read.python, read.cwd) == (str(tmp_path / "venv"), str(tmp_path / "app"))


def test_what_is_copied_into_the_plan_has_the_same_name_there() -> None:
    assert set(COPIED) <= set(Plan.__struct_fields__) & set(RunOptions.__struct_fields__)
    assert set(OF_AN_APP) <= set(RunOptions.__struct_fields__)
    (values,) = [{"cycles": 5, "users": 7, "seed": 3, "gc": "off", "workers": 2, "expect": "leak", "canary": True}]
    plan, _ = resolve(RunOptions(target="missing_remove", **values))
    assert {name: getattr(plan, name) for name in values} == values


@pytest.mark.parametrize(
    "values",
    [
        {"env": ("KEY=s3cret",)},
        {"header": {"Key": ("s3cret",)}},
        {"setup": "make db"},
        {"cycles": True},
        {"probe": "pools"},
        {"request": (1,)},
        {"load": "2"},
    ],
)
def test_the_api_checks_types_as_the_file_does(values: dict) -> None:
    (name,) = values
    with pytest.raises(Error, match=f"--{name}") as caught:
        resolve(RunOptions(app="x", **values))
    assert "s3cret" not in caught.value.message


NEEDED = {
    "expect_apps": {"listen": "127.0.0.1:7700"},
    "master_bind": {"expect_workers": 1, "master_bind": "127.0.0.1:5558"},
    "expect_workers": {"master_bind": "127.0.0.1:5557"},
    "max_idle": {"probe": "off"},
    "limit": {"sensitivity": "1/1000"},
}
"""What an option is given together with."""
VALUES = {
    "url": "http://127.0.0.1:8001", "env": {"A": "x"}, "header": {"A": "x"}, "request": ("/a",), "postgres": "17",
    "openapi": "http://127.0.0.1:8000/openapi.json", "mysql": "system", "allow_remote": ("db.example",),
    "listen": "127.0.0.1:7700", "master_bind": "127.0.0.1:5557", "sensitivity": "1/1000", "at_rate": "5/s",
    "setup": ("make db",), "max_connections": 50, "load": 2.5,
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_option_changes_the_plan_or_its_secrets(field: Field, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("sql", "locustfile", "cwd", "python")}
    for path in files.values():
        path.mkdir() if path.name == "cwd" else path.touch(mode=0o755)
    base = {"app": "app", "url": "http://127.0.0.1:8000", "cwd": str(tmp_path)} | NEEDED.get(field.name, {})
    value = VALUES.get(field.name) or (str(files[field.name]) if field.name in files else example(field))
    plain = {name: given for name, given in base.items() if name != field.name}
    assert resolve(RunOptions(**plain, **{field.name: value})) != resolve(RunOptions(**base))


@pytest.mark.parametrize(
    "values",
    [
        {"app": "app --token s3cr3tS3cr3t99"},
        {"url": "http://127.0.0.1:8000/?token=s3cr3tS3cr3t99"},
        {"openapi": "http://127.0.0.1:8000/openapi.json?token=s3cr3tS3cr3t99"},
        {"setup": ("TOKEN=s3cr3tS3cr3t99 make db",)},
        {"request": ("/orders?token=s3cr3tS3cr3t99",)},
        {"env": {"SHOP_TOKEN": "s3cr3tS3cr3t99"}},
        {"header": {"Authorization": "Bearer s3cr3tS3cr3t99"}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_secret_in_an_option_is_not_in_the_plan_and_is_known_to_the_redaction_of_logs(values: dict) -> None:
    base = {"app": "app", "url": "http://127.0.0.1:8000"}
    plan, secrets = resolve(RunOptions(**(base | values)))
    assert any("s3cr3tS3cr3t99" in value for value in secrets.values)
    assert "s3cr3tS3cr3t99" not in msgspec.json.encode(redact_plan(plan)).decode()
