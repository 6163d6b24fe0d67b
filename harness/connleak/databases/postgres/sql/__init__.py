"""The queries, one file each; a number in a name is the server version that introduced what it uses."""

from functools import cache
from importlib.resources import files


@cache
def load(name: str) -> str:
    """Returns the text of a query by its file's stem."""
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
