"""Redact passwords and tokens in everything that connleak writes or shows."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import msgspec

from connleak.model.plan import Plan

ADDRESS = re.compile(r"""(?<![^\s@"'<>])(?>[^\s@"'<>]*?://)[^\s@"'<>]*+@""")
"""A word with an address in it, up to an `@`. Each word is scanned once, so the time is linear in a line's length."""
ACCOUNT = re.compile(r"[a-zA-Z0-9+.-]://[^:/@]*+:")
"""The part of such a word before its password."""
ASSIGNED_PASSWORD = re.compile(
    r"((?:PGPASSWORD|PASSWORD|password|PASSWD|passwd)=)"
    r"""(?:[^\s;&"'<>]++"""
    r"""|'(?:[^'"\\\r\n]|\\.)*+'?"""  # libpq's quoted form; no `"`, which would end a string of JSON around it
    r"""|&(?:\#39|apos);[^&"'<>\r\n]*+(?:&(?:\#39|apos);)?)"""  # the same in a page
)
SHORTEST = 6
"""Characters: a shorter secret is not searched for in logs, where it would match everywhere."""

ALWAYS = ("secret", "token", "passw", "passphrase", "passcode", "credential", "apikey", "authorization", "bearer",
          "cookie", "jwt")  # fmt: skip
"""Parts of a name that mark its value as secret wherever they occur in it."""
AS_WORD = {"pass", "pwd", "key", "keys", "auth", "oauth", "pin", "otp", "sig", "signature", "sessionid"}
"""Parts that mark a value as secret only as a whole word of its name."""
AT_END = ("pass", "pwd", "key")
PATH_ENDINGS = {"file", "path", "dir"}
"""Last words of names whose values are paths, not secrets."""
NAME_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
HARMLESS = re.compile(r"(?i)true|false|yes|no|on|off|none|null|[01]?")
PLAIN_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^@?#]*")
REFERENCE = re.compile(r"\$\{(\w+)\}")
"""`${NAME}`: a variable of the environment, expanded when the value is used."""
PLACEHOLDER = re.compile(r"\$?\{\w+\}")
"""A reference, or `{NAME}`, which connleak fills in: neither is secret."""
PUBLIC_PARTS = re.compile(r"(\$?\{\w+\}|^(?:Bearer|Basic|Token|Digest)[ \t]+)", re.I)

VALUE = re.compile(r""""([^"]*)"|'([^']*)'|([^\s;&"'<>]+)""")
LINE = re.compile(r"""([^\r\n"']+)""")
NAME_FORMS = (
    (re.compile(r"(?<![\w.-])-{0,2}([A-Za-z_][\w.-]*+)="), VALUE),  # NAME=value, --name=value, form=fields
    (re.compile(r'"([^"\\\s]{1,100})"\s*+:\s*+'), re.compile(r'"((?:[^"\\]|\\.)*+)"|([^\s",}\]]+)')),  # JSON
    (re.compile(r"(?<!\S)--?([A-Za-z](?!o-)[\w-]*+)[ \t]++(?!-)"), VALUE),  # --name value, not --no-name
    (re.compile(r"(?<![\w-])([A-Za-z][\w-]*+):[ \t]++"), LINE),  # Name: value
)
"""The forms of a name and its value in what a user types; the name decides whether the value is secret."""
SECRET_FORMS = re.compile(
    r"(?i:(?<![\w-])(?:bearer|basic)[ \t]++)([\w.~+/=-]{6,})"
    r"|(?<![\w-])(eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?)"  # a JSON web token
    r"|(?<![\w-])((?:gh[pousr]_|github_pat_|sk-|sk_live_|xox[abpr]-|glpat-|AKIA)[\w-]{16,})"
    r"|(?<![A-Za-z0-9])([A-Za-z0-9]{20,}+)"
)
"""Values that are secret by their form; the last form only when `is_random`."""


def redact_passwords(text: str) -> str:
    """Return text with `***` for the passwords in its addresses and for those that are assigned by name."""
    return ASSIGNED_PASSWORD.sub(r"\1***", ADDRESS.sub(redact_password, text) if "@" in text else text)


def redact_password(word: re.Match[str]) -> str:
    account = ACCOUNT.search(word[0])
    return f"{account.string[: account.end()]}***@" if account and account.end() < len(word[0]) - 1 else word[0]


def is_secret_name(name: str) -> bool:
    """Return whether a name marks its value as secret."""
    words = [word.lower() for word in NAME_WORDS.findall(name)]
    flat = "".join(words)
    if not words or words[-1] in PATH_ENDINGS:
        return False
    return any(part in flat for part in ALWAYS) or not AS_WORD.isdisjoint(words) or flat.endswith(AT_END)


def is_harmless(value: str) -> bool:
    """Return whether a value is not secret under any name: a switch, a short number, an existing path, an address."""
    bare = REFERENCE.sub("", value).strip()
    return bool(HARMLESS.fullmatch(bare)) or is_existing_path(bare) or bool(PLAIN_ADDRESS.fullmatch(bare))


def is_random(word: str) -> bool:
    """Return whether letters and digits look like a key: long hex, or a mix whose character class keeps changing."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in word]
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", word):
        return len(word) >= 32 and len(set(kinds)) == 2
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(set(kinds)) == 3 and kinds.count("d") >= 2 and changes >= 0.45 * len(word)


def secret_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the secrets in user input: by name, by the account of an address, or by their form."""
    found = []
    for lead, value in NAME_FORMS:
        position = 0
        while name := lead.search(text, position):
            position = name.end()
            given = value.match(text, position) if is_secret_name(name[1]) else None
            if given and given.lastindex:
                if not is_harmless(given[given.lastindex]):
                    found.append(given.span(given.lastindex))
                position = given.end()
    for word in ADDRESS.finditer(text):
        account = ACCOUNT.search(word[0])
        if account and account.end() < len(word[0]) - 1:
            found.append((word.start() + account.end(), word.end() - 1))
    for form in SECRET_FORMS.finditer(text):
        if form.lastindex and (form.lastindex < 4 or is_random(form[4])):
            found.append(form.span(form.lastindex))
    return merge_spans(found)


def merge_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, with overlapping ones merged."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def replace_secrets(text: str, stand_in: Callable[[str], str]) -> str:
    """Return user input with each secret replaced; see `replace_secret`."""
    found, position = [], 0
    for begin, end in secret_spans(text):
        found += [text[position:begin], replace_secret(text[begin:end], stand_in)]
        position = end
    return "".join(found) + text[position:]


def replace_secret(secret: str, stand_in: Callable[[str], str]) -> str:
    """Return a secret replaced, except for its public parts: `${NAME}` and the scheme of an Authorization header."""
    parts = PUBLIC_PARTS.split(secret)
    return "".join(part if n % 2 or not part.strip() else stand_in(part) for n, part in enumerate(parts))


def redact_input(text: str) -> str:
    """Return user input with `***` for each secret."""
    return replace_secrets(text, lambda _: "***")


def redact_value(name: str, value: str) -> str:
    """Return the value of a variable or a header with `***` for each secret."""
    if not is_secret_name(name) or is_harmless(value):
        return redact_input(value)
    return replace_secret(value, lambda _: "***") if PLACEHOLDER.search(value) else "***"


def find_secrets(*texts: str) -> set[str]:
    """Return the secrets in user input that are long enough to search for in other texts."""
    found: set[str] = set()
    for text in texts:
        for begin, end in secret_spans(text):
            found |= set(PUBLIC_PARTS.split(text[begin:end])[::2])
    forms = {form for secret in found for form in (secret, unquote(secret), secret.replace('\\"', '"'))}
    return {form for form in forms if len(form) >= SHORTEST}


def expand_references(text: str, variables: Mapping[str, str]) -> str:
    """Return text with each `${NAME}` expanded; one that is not set stays."""
    return REFERENCE.sub(lambda name: variables.get(name[1], name[0]), text)


def referenced_secrets(names: Iterable[str], variables: Mapping[str, str]) -> set[str]:
    """Return the values of the named variables, without those that are harmless or too short to search for."""
    found = {variables.get(name, "") for name in names}
    return {value for value in found if len(value) >= SHORTEST and not is_harmless(value)}


def secret_values(variables: Mapping[str, str], headers: Mapping[str, str]) -> set[str]:
    """Return the values of variables and headers with a secret name; of a header also its last word.

    An existing path is not secret: PWD and SSH_AUTH_SOCK are named like secrets, too.
    """
    named = [*variables.items(), *headers.items()]
    found = {value for name, value in named if is_secret_name(name) and not is_harmless(value)}
    found |= {value.rpartition(" ")[2] for value in headers.values() if value in found}
    return {value for value in found if len(value) >= SHORTEST}


def is_existing_path(value: str) -> bool:
    """Return whether a value is an absolute path that exists."""
    return value.startswith("/") and os.path.exists(value)  # noqa: PTH110 - Path.exists raises for a long one


def redact(text: str, known: Iterable[str]) -> str:
    """Return text with `***` for passwords and for each of the known secrets."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return redact_passwords(text)


def redact_logs(folder: Path, known: Iterable[str]) -> None:
    """Rewrite the logs of a folder that contain a known secret."""
    known = set(known)
    for path in folder.glob("*.log"):
        part = path.with_suffix(".part")
        try:
            if any(redact(line, known) != line for line in lines_of(path)):
                part.touch(mode=0o600)
                with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(redact(line, known) for line in lines_of(path))
                part.replace(path)
        except OSError:  # a log that cannot be rewritten is removed
            for written in (part, path):
                with contextlib.suppress(OSError):
                    written.unlink()


def lines_of(path: Path) -> Iterator[str]:
    """Yield the lines of a file of any size and any bytes."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield from file


def redact_plan(plan: Plan) -> Plan:
    """Return a plan with `***` for each secret in its user input."""
    requests = tuple(
        msgspec.structs.replace(one, path=redact_input(one.path), body=redact_input(one.body)) for one in plan.requests
    )
    return msgspec.structs.replace(
        plan,
        app=redact_input(plan.app),
        url=redact_input(plan.url),
        setup=tuple(map(redact_input, plan.setup)),
        openapi=redact_input(plan.openapi),
        requests=requests,
    )


NAMED_OPTIONS = {"--env": "=", "--header": ":"}
"""Options whose value is a name and a value, with the separator between them."""


def redact_argv(argv: list[str]) -> Iterator[str]:
    """Yield the words of a command line with `***` for each secret; a `${NAME}` stays."""
    before = ""
    for word in argv:
        option, joined, value = word.partition("=")
        if before in NAMED_OPTIONS:
            yield redact_named_value(word, NAMED_OPTIONS[before])
        elif joined and option in NAMED_OPTIONS:
            yield f"{option}={redact_named_value(value, NAMED_OPTIONS[option])}"
        else:
            yield redact_input(word)
        before = word


def redact_named_value(word: str, separator: str) -> str:
    name, found, value = word.partition(separator)
    space = value[: len(value) - len(value.lstrip())]
    return f"{name}{found}{space}{redact_value(name.strip(), value.strip())}" if found else redact_input(word)
