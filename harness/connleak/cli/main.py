"""The command `connleak`."""

from __future__ import annotations

import rich_click as click

from connleak.cli.group import Group
from connleak.version import __version__

PANELS = {
    "Run": {"run": "run", "check": "check", "compare": "compare", "watch": "watch", "probe": "probe"},
    "Results": {
        "open": "open",
        "holders": "holders",
        "judge": "judge",
        "render": "render",
        "chart": "chart",
        "diagnose": "diagnose",
    },
    "Targets": {
        "list": "targets",
        "show": "targets",
        "new-target": "targets",
        "corpus": "corpus",
        "gallery": "gallery",
    },
    "Set-up": {"init": "init", "doctor": "doctor"},
}
"""The commands by panel of the help, and the module of each."""
STYLE = {
    "theme": "default-slim",
    "enable_theme_env_var": False,
    "max_width": 100,
    "padding_helptext_first_line": (0, 0, 1, 0),
    "text_paragraph_linebreaks": "\n\n",
}


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="connleak")
@click.rich_config(STYLE)
def main() -> None:
    """Reproduce database connection leaks under load, name the line of code that holds the connections,
    and draw their growth.

    \b
    connleak run missing_remove   run a known leak, on a real PostgreSQL
    connleak list                 list the known leaks
    connleak init; connleak run   run the app in this directory
    """


main.modules = {name: module for commands in PANELS.values() for name, module in commands.items()}
for title, commands in PANELS.items():
    main.add_panel(click.RichCommandPanel(title, commands=list(commands)))
