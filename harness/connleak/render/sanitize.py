"""Sanitize text from outside (queries, names, paths): no terminal control, no hidden or reordered characters."""

from __future__ import annotations

import json
import re

from rich.text import Text

CODES = (
    *range(9),
    *range(11, 32),
    *range(127, 160),
    0x061C,  # bidirectional marks, embeddings, overrides and isolates, which change the reading order
    *range(0x200E, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
    0x180E,  # zero width; the joiners stay, since scripts and emoji need them
    0x200B,
    *range(0x2060, 0x2066),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),
    0x2028,  # line and paragraph separators
    0x2029,
    *range(0xD800, 0xE000),  # surrogates, which no encoding can write
    0xFFFE,
    0xFFFF,
)
CONTROLS = dict.fromkeys(CODES, "?")
"""Characters that become `?`: control characters except tab and line feed, invisible and unencodable ones."""
CONTROL = re.compile(f"[{re.escape(''.join(map(chr, CODES)))}]")
LONGEST = 10_000
"""Maximum characters of a text."""


def harmless(text: str, longest: int = LONGEST) -> str:
    """Return text cut to a length, with `?` for each character in CONTROLS."""
    shown = text[:longest].translate(CONTROLS)
    return shown + " ..." if len(text) > longest else shown


def first_line(text: str) -> str:
    """Return the first line of a text; empty for an empty text."""
    return next(iter(text.splitlines()), "")


def plain(text: Text) -> Text:
    """Return a styled text with its characters sanitized."""
    text.plain = text.plain.translate(CONTROLS)  # one character for one, so the styles keep their places
    return text


def cell(value: object) -> Text:
    """Return a table cell: sanitized text in which rich finds no markup."""
    return Text(harmless(str(value)))


def escaped_json(text: str) -> str:
    """Return a JSON document with the same value and every character in CONTROLS escaped."""
    return CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text)
