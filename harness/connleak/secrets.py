"""Passwords in addresses, left out of whatever is written down or shown."""

from __future__ import annotations

import re

ADDRESS = re.compile(r"""([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@"'<>]*):[^\s@"'<>]+@""")
WORDS = re.compile(r"""((?:PGPASSWORD|PASSWORD|password)=)[^\s;&"'<>]+""")


def without_passwords(text: str) -> str:
    """Returns text with `***` for the passwords in its addresses, and for those that are set by name."""
    return WORDS.sub(r"\1***", ADDRESS.sub(r"\1:***@", text))
