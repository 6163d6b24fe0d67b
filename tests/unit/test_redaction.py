"""Redaction of secrets in command lines, variables and logs of any length."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from connleak.recording.redaction import (
    find_secrets,
    is_secret_name,
    redact,
    redact_input,
    redact_logs,
    redact_passwords,
    redact_value,
    secret_values,
)


@pytest.mark.parametrize("form", ["{} postgresql://u:pw@h", "x://a:{}@ ", "{}@"])
def test_a_line_takes_time_in_proportion_to_its_length(form: str) -> None:
    def seconds(length: int) -> float:
        words = form.format("o" * length)
        tries = []
        for _ in range(5):
            began = time.thread_time()
            redact_passwords(words)
            tries.append(time.thread_time() - began)
        return min(tries)

    assert seconds(200_000) < 100 * seconds(
        10_000
    )  # the text is 20 times as long; quadratic time would be 400 times as long


def test_addresses_in_many_forms_lose_their_passwords() -> None:
    told = redact_passwords("postgresql+psycopg2://u:p:w@h/x 1mysql://a:b@c")
    assert told == "postgresql+psycopg2://u:***@h/x 1mysql://a:***@c"
    assert redact_passwords(f"mysql://u:{'t' * 3000}@h") == "mysql://u:***@h"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=h password='s3cret' user=u", "host=h password=*** user=u"),
        ("password='s3 c\\'ret' user=u", "password=*** user=u"),
        ("passwd=s3cret&user=u", "passwd=***&user=u"),
        ("PASSWD='s3cret", "PASSWD=***"),
        ('{"dsn": "password=\'s3 cret\'", "user": "it\'s"}', '{"dsn": "password=***", "user": "it\'s"}'),
        ('{"dsn": "password=\'s3cr", "user": "it\'s"}', '{"dsn": "password=***", "user": "it\'s"}'),
        ('{"dsn": "password=", "user": "u"}', '{"dsn": "password=", "user": "u"}'),
        ("<p>password=&#39;s3 cret&#39; user=u</p>", "<p>password=*** user=u</p>"),
    ],
)
def test_a_password_in_the_form_of_libpq_or_mysql_is_hidden(text: str, shown: str) -> None:
    assert redact_passwords(text) == shown


def test_a_log_is_written_anew_line_by_line_for_its_owner_alone_and_others_are_left(tmp_path: Path) -> None:
    said, quiet = tmp_path / "app.log", tmp_path / "other.log"
    said.write_bytes(b"first\r\n" + b"the token is s3cr3t-t0ken\n" * 3 + b"\xff\xfe no text\nlast, without end")
    quiet.write_text("nothing\n")
    untouched = quiet.stat().st_ino
    redact_logs(tmp_path, {"s3cr3t-t0ken"})
    assert said.read_bytes() == b"first\r\n" + b"the token is ***\n" * 3 + b"\xff\xfe no text\nlast, without end"
    assert said.stat().st_mode & 0o777 == 0o600
    assert quiet.stat().st_ino == untouched
    assert {path.name for path in tmp_path.iterdir()} == {"app.log", "other.log"}


def test_variables_named_like_secrets_are_secret_but_not_where_we_are(tmp_path: Path) -> None:
    token = "/" + "t" * 5000
    variables = {"API_TOKEN": token, "DB_PASS": "swordfish", "PWD": str(tmp_path), "SHOP": "a shop", "MY_KEY": "short"}
    assert secret_values(variables, {"Authorization": "Bearer abcdef"}) == {
        token,
        "swordfish",
        "Bearer abcdef",
        "abcdef",
    }


CRAFTED = (
    "a://b:", "a://", "a:", "://:", "x@", "aaaa", "a-", "a.b-", "--a ", '"a":', '"', "a='", 'a="', "password=", "a=",
    "password='", "passwd='\\", "password=&#39;", "passwd=&#39;a ",
    "token: ", "eyJaaaaaaaa-", "eyJaaaaaaaa.", "bearer ", "Aa1", "ghp_a", "\\", '"password":"\\', "\t", "${",
)  # fmt: skip
FUNCTIONS: dict[str, Callable[[str], object]] = {
    "redact_passwords": redact_passwords,
    "redact": lambda text: redact(text, {"swordfish", "s3cr3t-t0ken"}),
    "redact_input": redact_input,
    "redact_value": lambda text: redact_value("API_TOKEN", text),
    "find_secrets": find_secrets,
    "is_secret_name": is_secret_name,
    "secret_values": lambda text: secret_values({text: text}, {text: text}),
}
ORDINARY = "GET /orders?page=2 took 12 ms for someone@example.org at http://127.0.0.1:8000/orders, user=ann\n"


def seconds(function: Callable[[str], object], text: str) -> float:
    tries = []
    for _ in range(3):
        began = time.thread_time()
        function(text)
        tries.append(time.thread_time() - began)
    return min(tries)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_crafted_text_takes_time_in_proportion_to_its_length_and_not_much_more_than_ordinary_text(name: str) -> None:
    """Eight times the text takes 8 times as long if time is linear, 64 times if it is quadratic."""
    function = FUNCTIONS[name]
    ordinary = max(seconds(one, (ORDINARY * 2000)[:60_000]) for one in (function, redact_input))
    for piece in CRAFTED:
        for end in ("", "@"):
            short, long = ((piece * length)[:length] + end for length in (7_500, 60_000))
            crafted = seconds(function, long)
            assert crafted < 24 * seconds(function, short) + 0.002, (piece, end)
            assert crafted < 40 * ordinary, (piece, end)


def test_a_megabyte_of_addresses_without_end_costs_what_other_text_does() -> None:
    crafted = "a://b:" * 170_000 + "@"
    assert seconds(redact_passwords, crafted) < 40 * seconds(redact_passwords, ORDINARY * 10_000)


def test_ordinary_text_loses_what_it_lost_before() -> None:
    address = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]{0,40}://[^\s:/@"'<>]{0,256}):[^\s@"'<>]{1,4096}@""")
    words = re.compile(r"""((?:PGPASSWORD|PASSWORD|password)=)[^\s;&"'<>]+""")

    def before(text: str) -> str:
        return words.sub(r"\1***", address.sub(r"\1:***@", text) if "@" in text else text)

    pieces = (
        "postgresql", "://", "user", ":", "p:w/1", "@", "host", "/db", " ", "\n", '"', "'", "<", ">", "?password=x",
        "&", "PGPASSWORD=y", ";", "http://127.0.0.1:80/", "someone@example.org", "1mysql://a:b@c", "(", ")", ",", "=",
    )  # fmt: skip
    chance = random.Random(7)
    differing = 0
    for _ in range(20_000):
        text = "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 14)))
        if re.search(r"(?<![a-zA-Z0-9+.-])[0-9+.-]*://", text):
            continue  # no scheme
        differing += before(text) != text
        assert redact_passwords(text) == before(text), text
    assert differing > 1000


SHOWN = (
    "DEBUG=1", "WORKERS=4", "gunicorn -w 4 shop:app -b 127.0.0.1:8000", "http://127.0.0.1:8000/orders?page=2",
    "python manage.py migrate --no-input --no-auth run", "AUTHOR=ann", "SSL_KEY_FILE=conf/key.pem",
    "SHOP_DB={async_url}", "DB_PASS={password}", "API_TOKEN=${API_TOKEN}", 'POST /login {"password": "${PW}"}',
    "Authorization: Bearer ${BEARER}", "AUTH_URL=http://127.0.0.1:9000/", 'POST /orders {"amount": 1, "note": "x"}',
    "/orders/0b8f5c1e-31f2-4d8b-9a51-3c2d1e0f9a8b", "TestNoSecretIsAnywhereAfterRun01", "docker:postgres:16",
    "/tmp/pytest-of-root/pytest-12/test_no_secret_is_anywhere_afte0/shop.py", "USE_TOKEN=true",
)  # fmt: skip
HIDDEN = {
    "env API_TOKEN=abc gunicorn app:app": "env API_TOKEN=*** gunicorn app:app",
    "createuser --password hunter2 -h x": "createuser --password *** -h x",
    "x --client-secret=hunter2 -v": "x --client-secret=*** -v",
    "--env=DB_PASS=hunter2": "--env=DB_PASS=***",
    """sh -c "export TOKEN='a b'; run" """: """sh -c "export TOKEN='***'; run" """,
    'POST /login {"user": "ann", "password": "s3 cr\\"et", "pin": 1234}':
        'POST /login {"user": "ann", "password": "***", "pin": ***}',
    "POST /login user=ann&password=x%40y&next=/": "POST /login user=ann&password=***&next=/",
    "/x?access_token=abc&page=2": "/x?access_token=***&page=2",
    "postgresql://u:pw@h/d": "postgresql://u:***@h/d",
    "curl -H 'Authorization: Bearer abcdef'": "curl -H 'Authorization: Bearer ***'",
    "password=pre${PW}": "password=***${PW}",
    "x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdef y": "x *** y",
    "x ghp_0123456789abcdefghij y": "x *** y",
    "MARK=Zk3vT9qLp2XwR8sYb5Nd": "MARK=***",
    "MARK=0f343b0931126a20f133d67c2b018a3b": "MARK=***",
}  # fmt: skip


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_harmless_is_shown(text: str) -> None:
    assert redact_input(text) == text and not find_secrets(text)


@pytest.mark.parametrize("text", HIDDEN)
def test_what_is_secret_by_its_name_or_its_look_is_hidden(text: str) -> None:
    assert redact_input(text) == HIDDEN[text]


def test_secrets_are_found_in_each_form_that_an_app_may_print() -> None:
    assert find_secrets("password=hun%40ter2", '{"token": "ab\\"cdef"}') == {
        "hun%40ter2", "hun@ter2", 'ab\\"cdef', 'ab"cdef'
    }  # fmt: skip
    assert find_secrets("PIN=123") == set(), "too short to be looked for in a log"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer abc", "***"),
        ("Authorization", "Bearer ${SHOP}", "Bearer ${SHOP}"),
        ("Cookie", "session=abc", "***"),
        ("Accept", "text/html", "text/html"),
        ("DEBUG", "1", "1"),
        ("SHOP_DB", "postgresql://u:pw@h/d", "postgresql://u:***@h/d"),
        ("DB_PASS", "{password}", "{password}"),
        ("PIN", "1234", "***"),
    ],
)
def test_the_value_of_a_variable_or_a_header_is_hidden_by_its_name_or_its_look(
    name: str, value: str, shown: str
) -> None:
    assert redact_value(name, value) == shown
