"""Text of others (a query, a name, a path) that must not speak to the terminal, nor hide what it says."""

from __future__ import annotations

import json
import re

from rich.text import Text

CODES = (
    *range(9),
    *range(11, 32),
    *range(127, 160),
    0x061C,  # marks of direction, and what embeds, overrides and isolates one: text that reads otherwise than it is
    *range(0x200E, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x2070),
    0x180E,  # what has no width; the joiners stay, for scripts and pictures are written with them
    0x200B,
    *range(0x2060, 0x2066),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),
    0x2028,  # other ends of a line
    0x2029,
    *range(0xD800, 0xE000),  # what no encoding has
    0xFFFE,
    0xFFFF,
)
CONTROLS = dict.fromkeys(CODES, "?")
"""Characters that become `?`: control characters but tab and line feed, what is invisible, what cannot be written."""
CONTROL = re.compile(f"[{re.escape(''.join(map(chr, CODES)))}]")
LONGEST = 10_000
"""Characters of a text that is shown in one piece."""


def harmless(words: str, most: int = LONGEST) -> str:
    """Returns words with `?` for each character that does more than stand there, cut to a length."""
    shown = words[:most].translate(CONTROLS)
    return shown + " ..." if len(words) > most else shown


def first_line(words: str) -> str:
    """Returns the first line of a text, which may have none."""
    return next(iter(words.splitlines()), "")


def plain(text: Text) -> Text:
    """Returns a text with its styles, its characters made harmless."""
    text.plain = text.plain.translate(CONTROLS)  # one for one: styles stay where they are
    return text


def cell(words: object) -> Text:
    """Returns what stands in a table, as it is: no markup, nothing that moves the cursor."""
    return Text(harmless(str(words)))


def escaped_json(text: str) -> str:
    """Returns a JSON document of the same value, in which no such character stands as it is."""
    return CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text)
