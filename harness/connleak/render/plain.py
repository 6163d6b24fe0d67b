"""Text of others (a query, a name, a path) that must not speak to the terminal: control characters become `?`."""

from __future__ import annotations

from rich.text import Text

CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "?")


def plain(text: Text) -> Text:
    """Returns a text with its styles, its characters made harmless."""
    text.plain = text.plain.translate(CONTROLS)  # one for one: styles stay where they are
    return text


def cell(words: object) -> Text:
    """Returns what stands in a table, as it is: no markup, nothing that moves the cursor."""
    return Text(str(words).translate(CONTROLS))
