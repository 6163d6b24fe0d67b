"""Secrets in logs of any length."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from connleak.secrets import scrub, secrets_in, without_passwords


@pytest.mark.parametrize("form", ["{} postgresql://u:pw@h", "x://a:{}@ ", "{}@"])
def test_a_line_takes_time_in_proportion_to_its_length(form: str) -> None:
    def seconds(length: int) -> float:
        words = form.format("o" * length)
        tries = []
        for _ in range(5):
            began = time.thread_time()
            without_passwords(words)
            tries.append(time.thread_time() - began)
        return min(tries)

    assert seconds(200_000) < 100 * seconds(10_000)  # 20 times as long; it was 400


def test_addresses_in_many_forms_lose_their_passwords() -> None:
    told = without_passwords("postgresql+psycopg2://u:p:w@h/x 1mysql://a:b@c")
    assert told == "postgresql+psycopg2://u:***@h/x 1mysql://a:***@c"
    assert without_passwords(f"mysql://u:{'t' * 3000}@h") == "mysql://u:***@h"


def test_a_log_is_written_anew_line_by_line_for_its_owner_alone_and_others_are_left(tmp_path: Path) -> None:
    said, quiet = tmp_path / "app.log", tmp_path / "other.log"
    said.write_bytes(b"first\r\n" + b"the token is s3cr3t-t0ken\n" * 3 + b"\xff\xfe no text\nlast, without end")
    quiet.write_text("nothing\n")
    untouched = quiet.stat().st_ino
    scrub(tmp_path, {"s3cr3t-t0ken"})
    assert said.read_bytes() == b"first\r\n" + b"the token is ***\n" * 3 + b"\xff\xfe no text\nlast, without end"
    assert said.stat().st_mode & 0o777 == 0o600
    assert quiet.stat().st_ino == untouched
    assert {path.name for path in tmp_path.iterdir()} == {"app.log", "other.log"}


def test_variables_named_like_secrets_are_secret_but_not_where_we_are(tmp_path: Path) -> None:
    token = "/" + "t" * 5000
    variables = {"API_TOKEN": token, "DB_PASS": "swordfish", "PWD": str(tmp_path), "SHOP": "a shop", "MY_KEY": "short"}
    assert secrets_in(variables, {"Authorization": "Bearer abcdef"}) == {token, "swordfish", "Bearer abcdef", "abcdef"}
