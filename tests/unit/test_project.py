"""The project file, and the one that `connleak init` writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from connleak.model.errors import Error
from connleak.plan import detect
from connleak.plan import project_file as project
from connleak.plan.options import RunOptions
from support.cli import connleak


def test_the_nearest_file_counts_and_its_paths_are_seen_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "connleak.toml").write_text(
        'app = "gunicorn app:app"\nurl = "http://127.0.0.1:1"\nsql = "db/schema.sql"\nload = 2\nmax-connections = 50\n'
        'request = ["/a", "/b *2"]\n[env]\nDB = "{url}"\n[header]\nAccept = "text/html"\n'
    )
    inside = tmp_path / "src" / "shop"
    inside.mkdir(parents=True)
    path, found = project.read(inside) or (None, RunOptions())
    assert path == tmp_path / "connleak.toml"
    assert (found.sql, found.cwd) == (str(tmp_path / "db/schema.sql"), str(tmp_path))
    assert (found.env, found.header, found.request) == ({"DB": "{url}"}, {"Accept": "text/html"}, ("/a", "/b *2"))
    assert (found.load, found.max_connections) == (2, 50)


def test_pyprojects_table_counts_too_and_a_pyproject_without_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.connleak]\napp = "x"\n')
    inside = tmp_path / "package"
    inside.mkdir()
    (inside / "pyproject.toml").write_text("[tool.other]\n")
    path, found = project.read(inside) or (None, RunOptions())
    assert path == tmp_path / "pyproject.toml" and found.app == "x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('app = "x"\nurll = "y"', "unknown key urll; did you mean 'url'"),
        ('app = "x"\nusers = "many"', "users: expected a whole number, got a string"),
        ('app = "x"\nusers = true', "users: expected a whole number, got true or false"),
        ('app = "x"\nprobe = "pols"', "probe: choose from pool, queries, off; did you mean 'pool'"),
        ('app = "x"\nload = 0', "load: expected a number > 0"),
        ('app = "x"\n[env]\nDEBUG = 1', r"env\[...\]: expected a string, got a whole number"),
        ('app = "x"\nrequest = "/"', "request: expected a list, got a string"),
        ('url = "x"', "the key app is missing"),
        ("app = ", "Invalid value"),
    ],
)
def test_what_is_wrong_in_it_is_said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "connleak.toml").write_text(text)
    with pytest.raises(Error, match=words):
        project.read(tmp_path)


@pytest.mark.parametrize(
    ("files", "framework", "words"),
    [
        ({"web.py": "from flask import Flask\nshop = Flask(__name__)\n"}, "Flask", "web:shop"),
        ({"src/api.py": "import fastapi\napp = fastapi.FastAPI()\n"}, "FastAPI", "uvicorn src.api:app --port 8123"),
        ({"manage.py": "", "site/wsgi.py": ""}, "Django", "site.wsgi"),
    ],
)
def test_the_app_is_found_by_looking(tmp_path: Path, files: dict[str, str], framework: str, words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text("app = Flask(__name__)")
    found = detect.detect(tmp_path, 8123)
    assert found is not None and found.framework == framework and words in found.app
    (tmp_path / "connleak.toml").write_text(detect.project_file_text(found, 8123))
    _, options = project.read(tmp_path) or (None, RunOptions())
    assert options.app == found.app and options.url == "http://127.0.0.1:8123"


def test_without_gunicorn_in_its_environment_flask_serves_itself(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text("app = Flask(__name__)\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    found = detect.detect(tmp_path, 1)
    assert found and found.app.startswith("python -m flask --app web:app run") and found.python == ".venv"


def test_nothing_found_gives_a_file_to_fill_in(tmp_path: Path) -> None:
    assert detect.detect(tmp_path, 8000) is None
    assert "the start command of your app" in detect.project_file_text(None, 8000)


def test_init_writes_the_file_once_and_run_without_words_needs_it(tmp_path: Path) -> None:
    lost = connleak("run", cwd=tmp_path)
    assert lost.returncode == 2 and "connleak init" in lost.stderr
    (tmp_path / "web.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    done = connleak("init", cwd=tmp_path)
    assert done.returncode == 0 and "Flask" in done.stdout and "next: connleak run" in done.stdout
    again = connleak("init", cwd=tmp_path)
    assert again.returncode == 2 and "exists already" in again.stderr
    (tmp_path / "connleak.toml").write_text('app = "true"\nrequest = ["/"]\n')
    assert "--request requires --url" in connleak("run", cwd=tmp_path).stderr


def test_bytes_that_are_no_text_are_an_error_here_and_somebody_elses_to_mend_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.connleak]\napp = '\xff'\n")
    assert project.read(tmp_path) is None
    (tmp_path / "connleak.toml").write_bytes(b"app = '\xff'\n")
    with pytest.raises(Error, match=r"connleak\.toml"):
        project.read(tmp_path)
