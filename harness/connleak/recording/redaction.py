"""Passwords and tokens, left out of whatever is written down or shown."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

ADDRESS = re.compile(r"""(?<![^\s@"'<>])(?>[^\s@"'<>]*?://)[^\s@"'<>]*+@""")
"""A word with an address in it, up to an `@`. Each word is looked through once: a line of any length takes time in
proportion to it."""
ACCOUNT = re.compile(r"[a-zA-Z0-9+.-]://[^:/@]*+:")
"""What stands before the password in such a word."""
WORDS = re.compile(
    r"((?:PGPASSWORD|PASSWORD|password|PASSWD|passwd)=)"
    r"""(?:[^\s;&"'<>]++"""
    r"""|'(?:[^'"\\\r\n]|\\.)*+'?"""  # libpq's quoted form; no `"`, which would end a string of JSON around it
    r"""|&(?:\#39|apos);[^&"'<>\r\n]*+(?:&(?:\#39|apos);)?)"""  # the same in a page
)
SHORTEST = 6
"""Characters that a secret has at least to be looked for in logs: a shorter one would be found everywhere."""

ALWAYS = ("secret", "token", "passw", "passphrase", "passcode", "credential", "apikey", "authorization", "bearer",
          "cookie", "jwt")  # fmt: skip
"""What a name that means a secret has in it, whatever stands around it."""
AS_WORD = {"pass", "pwd", "key", "keys", "auth", "oauth", "pin", "otp", "sig", "signature", "sessionid"}
"""What means a secret as a word of a name only."""
AT_END = ("pass", "pwd", "key")
PLACES = {"file", "path", "dir"}
"""Last words of names whose values are places, not secrets."""
NAME_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
HARMLESS = re.compile(r"(?i)true|false|yes|no|on|off|none|null|[01]?")
PLAIN_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^@?#]*")
REFERENCE = re.compile(r"\$\{(\w+)\}")
"""`${NAME}`, which stands for a variable of the environment and is filled in when it is used."""
PLACE = re.compile(r"\$?\{\w+\}")
OPEN = re.compile(r"(\$?\{\w+\}|^(?:Bearer|Basic|Token|Digest)[ \t]+)", re.I)

VALUE = re.compile(r""""([^"]*)"|'([^']*)'|([^\s;&"'<>]+)""")
LINE = re.compile(r"""([^\r\n"']+)""")
NAMED = (
    (re.compile(r"(?<![\w.-])-{0,2}([A-Za-z_][\w.-]*+)="), VALUE),  # NAME=value, --name=value, form=fields
    (re.compile(r'"([^"\\\s]{1,100})"\s*+:\s*+'), re.compile(r'"((?:[^"\\]|\\.)*+)"|([^\s",}\]]+)')),  # JSON
    (re.compile(r"(?<!\S)--?([A-Za-z](?!o-)[\w-]*+)[ \t]++(?!-)"), VALUE),  # --name value, not --no-name
    (re.compile(r"(?<![\w-])([A-Za-z][\w-]*+):[ \t]++"), LINE),  # Name: value
)
"""How a value stands beside its name in what a person types; the name decides."""
SHAPES = re.compile(
    r"(?i:(?<![\w-])(?:bearer|basic)[ \t]++)([\w.~+/=-]{6,})"
    r"|(?<![\w-])(eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?)"  # a JSON web token
    r"|(?<![\w-])((?:gh[pousr]_|github_pat_|sk-|sk_live_|xox[abpr]-|glpat-|AKIA)[\w-]{16,})"
    r"|(?<![A-Za-z0-9])([A-Za-z0-9]{20,}+)"
)
"""Values that are secrets by their look; the last kind only when `is_random`."""


def without_passwords(text: str) -> str:
    """Returns text with `***` for the passwords in its addresses, and for those that are set by name."""
    return WORDS.sub(r"\1***", ADDRESS.sub(without_password, text) if "@" in text else text)


def without_password(word: re.Match[str]) -> str:
    account = ACCOUNT.search(word[0])
    return f"{account.string[: account.end()]}***@" if account and account.end() < len(word[0]) - 1 else word[0]


def is_secret_name(name: str) -> bool:
    """Tells whether a name says that its value is a secret."""
    words = [word.lower() for word in NAME_WORDS.findall(name)]
    flat = "".join(words)
    if not words or words[-1] in PLACES:
        return False
    return any(part in flat for part in ALWAYS) or not AS_WORD.isdisjoint(words) or flat.endswith(AT_END)


def is_plain(value: str) -> bool:
    """Tells whether a value is none, whatever its name: a switch, a short number, a path that is there, an address."""
    bare = REFERENCE.sub("", value).strip()
    return bool(HARMLESS.fullmatch(bare)) or is_path(bare) or bool(PLAIN_ADDRESS.fullmatch(bare))


def is_random(word: str) -> bool:
    """Tells whether letters and digits look like a key: long hex, or a mix that changes its kind all the time."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in word]
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", word):
        return len(word) >= 32 and len(set(kinds)) == 2
    changes = sum(one != other for one, other in pairwise(kinds))
    return len(set(kinds)) == 3 and kinds.count("d") >= 2 and changes >= 0.45 * len(word)


def secret_spans(text: str) -> list[tuple[int, int]]:
    """Returns where the secrets stand in what a person typed: by name, by the account of an address, by their look."""
    found = []
    for lead, value in NAMED:
        position = 0
        while name := lead.search(text, position):
            position = name.end()
            given = value.match(text, position) if is_secret_name(name[1]) else None
            if given and given.lastindex:
                if not is_plain(given[given.lastindex]):
                    found.append(given.span(given.lastindex))
                position = given.end()
    for word in ADDRESS.finditer(text):
        account = ACCOUNT.search(word[0])
        if account and account.end() < len(word[0]) - 1:
            found.append((word.start() + account.end(), word.end() - 1))
    for look in SHAPES.finditer(text):
        if look.lastindex and (look.lastindex < 4 or is_random(look[4])):
            found.append(look.span(look.lastindex))
    return merged(found)


def merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns spans in order, those that overlap made one."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def replaced(text: str, stand_in: Callable[[str], str]) -> str:
    """Returns what a person typed with something else for each of its secrets; what is open in one stays."""
    found, position = [], 0
    for begin, end in secret_spans(text):
        found += [text[position:begin], instead(text[begin:end], stand_in)]
        position = end
    return "".join(found) + text[position:]


def instead(secret: str, stand_in: Callable[[str], str]) -> str:
    """Returns something else for a secret, but for what is open in it: `${NAME}`, the scheme of an Authorization."""
    parts = OPEN.split(secret)
    return "".join(part if n % 2 or not part.strip() else stand_in(part) for n, part in enumerate(parts))


def hidden(text: str) -> str:
    """Returns what a person typed as it may be written down: `***` for each secret."""
    return replaced(text, lambda _: "***")


def hidden_value(name: str, value: str) -> str:
    """Returns the value of a variable or a header as it may be written down."""
    if not is_secret_name(name) or is_plain(value):
        return hidden(value)
    return instead(value, lambda _: "***") if PLACE.search(value) else "***"


def secrets_typed(*texts: str) -> set[str]:
    """Returns the secrets in what a person typed that are long enough to be looked for elsewhere."""
    found: set[str] = set()
    for text in texts:
        for begin, end in secret_spans(text):
            found |= set(OPEN.split(text[begin:end])[::2])
    forms = {form for secret in found for form in (secret, unquote(secret), secret.replace('\\"', '"'))}
    return {form for form in forms if len(form) >= SHORTEST}


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """Returns text with the variables of each `${NAME}`; one that is not set stays as it is."""
    return REFERENCE.sub(lambda name: variables.get(name[1], name[0]), text)


def values_of(names: Iterable[str], variables: Mapping[str, str]) -> set[str]:
    """Returns the values that were filled in for names, without those that are plain or too short to be looked for."""
    found = {variables.get(name, "") for name in names}
    return {value for value in found if len(value) >= SHORTEST and not is_plain(value)}


def secrets_in(variables: Mapping[str, str], headers: Mapping[str, str]) -> set[str]:
    """Returns the values that are secret: of variables and headers whose name says so, headers' with their last word.

    A path that is there is none: PWD and SSH_AUTH_SOCK are named like secrets, too.
    """
    named = [*variables.items(), *headers.items()]
    found = {value for name, value in named if is_secret_name(name) and not is_plain(value)}
    found |= {value.rpartition(" ")[2] for value in headers.values() if value in found}
    return {value for value in found if len(value) >= SHORTEST}


def is_path(value: str) -> bool:
    """Tells whether a value is the absolute path of something that is there."""
    return value.startswith("/") and os.path.exists(value)  # noqa: PTH110 - Path.exists raises for a long one


def without(text: str, known: Iterable[str]) -> str:
    """Returns text without passwords, and with `***` for each of the known secrets."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_passwords(text)


def scrub(folder: Path, known: Iterable[str]) -> None:
    """Writes the logs of a folder anew without the known secrets, where an app or a server has said one."""
    known = set(known)
    for path in folder.glob("*.log"):
        part = path.with_suffix(".part")
        try:
            if any(without(line, known) != line for line in lines_of(path)):
                part.touch(mode=0o600)
                with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(without(line, known) for line in lines_of(path))
                part.replace(path)
        except OSError:  # what cannot be written anew is not left with a secret in it
            for written in (part, path):
                with contextlib.suppress(OSError):
                    written.unlink()


def lines_of(path: Path) -> Iterator[str]:
    """Yields the lines of a file of any size and any bytes."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield from file
