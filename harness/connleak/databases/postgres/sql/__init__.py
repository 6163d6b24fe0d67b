"""The queries, one file each; a number in a name is the server version that introduced the columns."""

from functools import cache
from importlib.resources import files


@cache
def load(name: str) -> str:
    """Return the text of a query by the stem of its file."""
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
