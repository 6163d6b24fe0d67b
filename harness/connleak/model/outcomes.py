"""The outcomes of a verdict and the kinds of finding: the only list of each.

Exit codes, help texts, colours, SARIF levels, the merge order and the anchors in docs/findings.md derive from these.
"""

from __future__ import annotations

from typing import Literal

from connleak.model.struct import Struct

Outcome = Literal["leak", "fault", "strained", "inconclusive", "clean"]


class OutcomeRow(Struct, frozen=True, kw_only=True):
    """An outcome as shown to users; `colour` is a colour of the terminal's sixteen, `level` is SARIF's."""

    exit_code: int
    colour: str
    text_colour: str = "white"
    """The colour of text on a background of `colour`."""
    level: str = ""
    help: str


OUTCOMES: dict[Outcome, OutcomeRow] = {
    "leak": OutcomeRow(exit_code=1, colour="red", level="error", help="connections are not returned"),
    "fault": OutcomeRow(exit_code=1, colour="magenta", level="error", help="connections are used incorrectly"),
    "strained": OutcomeRow(
        exit_code=0,
        colour="yellow",
        text_colour="black",
        level="warning",
        help="every connection is returned, but the configuration will fail under production load",
    ),
    "inconclusive": OutcomeRow(
        exit_code=3, colour="white", text_colour="black", help="the evidence supports no verdict"
    ),
    "clean": OutcomeRow(exit_code=0, colour="green", help="no leak down to the stated sensitivity"),
}
"""In merge order: the verdict's outcome is the first of these that any check returns."""


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of finding: its outcome and its title.

    `at_line` is true if it names the checkout's line, `from_log` if its evidence is the app's log.
    """

    outcome: Outcome
    title: str
    at_line: bool = False
    from_log: bool = False


KINDS: dict[str, Kind] = {
    "held": Kind(outcome="leak", title="checkouts that are never returned", at_line=True),
    "growth": Kind(outcome="leak", title="sessions that grow with each cycle", at_line=True),
    "orphaned": Kind(outcome="leak", title="sessions outside every pool", at_line=True),
    "collected": Kind(outcome="leak", title="checkouts returned only by the garbage collector", at_line=True),
    "lock-held": Kind(outcome="leak", title="advisory locks on returned connections", at_line=True),
    "shared": Kind(outcome="fault", title="one session used by two processes, threads or tasks"),
    "refused": Kind(outcome="fault", title="driver errors caused by misuse of a connection", from_log=True),
    "lost-slots": Kind(outcome="fault", title="pool slots without a connection"),
    "exhausted": Kind(outcome="strained", title="pool timeouts"),
    "over-budget": Kind(outcome="strained", title="pools that exceed max_connections"),
    "per-client": Kind(outcome="strained", title="an idle connection for each open client"),
    "churn": Kind(outcome="strained", title="a new connection for every second request"),
}
"""Every kind of finding, the most severe first: findings are listed in this order."""


def docs_anchor(kind: str) -> str:
    """Return the section of the docs that explains a kind of finding."""
    return f"docs/findings.md#{kind}"
