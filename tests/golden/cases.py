"""The recordings made for the golden verdicts: how each is made, its right verdict, and why."""

from __future__ import annotations

from dataclasses import dataclass

from connleak.model.verdict import Verdict


@dataclass(frozen=True)
class Case:
    """A recording: `does` is `run TARGET OPTIONS`, `fault NEMESIS SEED`, `watch NAME` or `own NAME OPTIONS`."""

    does: str
    right: str
    """The right outcome and kinds of findings."""
    why: str
    known_wrong: str = ""
    """The reason that today's verdict is wrong; empty if it is right."""


def said(verdict: Verdict) -> str:
    """Return a verdict's outcome and kinds of findings, in order, as a case has them."""
    return " ".join([verdict.outcome, *dict.fromkeys(finding.kind for finding in verdict.findings)])


def known_wrong(name: str) -> str:
    """Return the reason that a recording's golden verdict is wrong; empty if it is right."""
    case = CASES.get(name.removeprefix("golden/"))
    return case.known_wrong if case else ""


ENDED = "sessions that the server ends one by one leave their words in the log, which count as the app's fault"
LAST_ALONE = "only the last window is asked: `nothing stayed out through a window` is false for those before it"
WATCHED = {
    "watch-empty": Case("watch empty", "inconclusive", "no session was seen: perhaps it is the wrong server"),
    "watch-quiet": Case("watch quiet", "clean", "three sessions lie idle from before to after"),
    "watch-busy": Case(
        "watch busy",
        "clean",
        "all is given back; the pool had filled before",
        "the first read lies just before the baseline begins and the next just after it ends: it counts no session",
    ),
    "watch-leak": Case("watch leak", "leak held", "another transaction is forgotten every 0.7 s"),
    "watch-until-leak": Case("watch until_leak", "leak held", "one transaction was forgotten before it began"),
    "watch-renewed": Case("watch renewed", "clean", "a batch job commits as it goes"),
    "watch-report": Case("watch report", "clean", "a long statement is at work, nothing is forgotten"),
    "watch-fills": Case("watch fills", "inconclusive", "idle sessions become more: a pool that fills, or a leak"),
    "watch-budget-kept": Case("watch budget_kept", "clean", "they become five, which the user allows"),
    "watch-budget-broken": Case("watch budget_broken", "leak growth", "the user allows two, and they go on rising"),
    "watch-full": Case(
        "watch full",
        "inconclusive",
        "the server is full: there could not be more",
        "the watch's own session has the last connection, and is not counted",
    ),
    "watch-lock": Case("watch lock", "leak lock-held", "an idle session keeps an advisory lock"),
    "watch-short": Case("watch short", "inconclusive", "two windows show no growth"),
    "watch-interrupted": Case("watch interrupted", "clean", "Ctrl-C is how a watch ends"),
    "watch-states-hidden": Case("watch states_hidden", "inconclusive", "the role may not see what others do"),
    "watch-reads-refused": Case("watch reads_refused", "inconclusive", "nobody looked for four seconds"),
    "watch-restarted": Case("watch restarted", "inconclusive", "the server was away"),
    "watch-leaker-ends": Case("watch leaker_ends", "leak held", "it was seen, though its app has ended", LAST_ALONE),
    "watch-probe-clean": Case("watch probe_clean", "clean", "requests go on, and all is given back"),
    "watch-probe-leak": Case("watch probe_leak", "leak held", "a line keeps what it takes"),
    "watch-probe-strangers": Case("watch probe_strangers", "clean", "the probe tells others' sessions from the app's"),
    "watch-probe-leaker-ends": Case(
        "watch probe_leaker_ends", "leak held", "it was seen, though its app has ended", LAST_ALONE
    ),
    "watch-mysql-held": Case("watch mysql_held", "leak held", "a transaction is forgotten on MariaDB"),
    "watch-mysql-hidden": Case("watch mysql_hidden", "inconclusive", "the account may not see others' states"),
}
OFF = {
    "off-missing_remove-buggy": Case("run missing_remove:buggy --load 1 --probe off", "leak held", "open transactions"),
    "off-missing_remove-fixed": Case(
        "run missing_remove:fixed --load 1 --probe off", "inconclusive", "without a probe or budget idle tells nothing"
    ),
    "off-missing_remove-fixed-budget": Case(
        "run missing_remove:fixed --load 1 --probe off --budget 16", "clean", "the user allows what the pools keep"
    ),
    "off-wrong_commit_only": Case(
        "run missing_remove:wrong_commit_only --load 1 --probe off", "leak held", "a read after commit() begins anew"
    ),
    "off-listen_held-buggy": Case(
        "run listen_held:buggy --probe off",
        "leak growth per-client",
        "idle listeners rise beyond what pools may hold that fill: users x processes",
    ),
    "off-listen_held-buggy-budget": Case(
        "run listen_held:buggy --probe off --budget 4",
        "leak growth per-client",
        "they rise beyond what the user allows",
    ),
    "off-listen_held-fixed": Case("run listen_held:fixed --probe off --budget 4", "clean", "one listener a process"),
    "off-listen_held-per_client": Case(
        "run listen_held:wrong_per_client --probe off --budget 4", "strained per-client", "one for each open page"
    ),
    "off-pool_too_small": Case(
        "run pool_too_small:control --load 1 --probe off --budget 20", "inconclusive", "callers give up, unseen"
    ),
    "off-engine_per_request": Case(
        "run engine_per_request:buggy --load 1 --probe off --budget 10", "leak growth", "engines are left behind"
    ),
    "off-engine_disposed": Case(
        "run engine_per_request:wrong_dispose_each_time --load 1 --probe off --budget 10",
        "clean",
        "all is given back; without a probe churn is not judged",
    ),
    "off-lock_left_behind": Case(
        "run lock_left_behind:buggy --load 1 --probe off --budget 20", "leak lock-held", "the server shows locks"
    ),
    "off-small-server": Case(
        "run missing_remove:buggy --load 1 --probe off --max-connections 12",
        "leak held exhausted",
        "transactions are forgotten until the server refuses",
    ),
}
TRUST = {
    "canary-leak": Case(
        "run missing_remove:buggy --load 1 --canary", "leak held", "the app's own leak, and the planted"
    ),
    "canary-clean": Case("run missing_remove:fixed --load 1 --canary", "clean", "the planted leak is no finding"),
    "canary-strained": Case("run pool_too_small:control --load 1 --canary", "strained exhausted", "it takes no slot"),
    "gc-off-dropped": Case(
        "run abandoned_stream:buggy --load 1 --gc off", "leak held collected", "held until a last collection"
    ),
    "gc-off-fixed": Case("run missing_remove:fixed --load 1 --gc off", "clean", "given back without the collector"),
    "gc-eager-dropped": Case(
        "run abandoned_stream:buggy --load 1 --gc eager", "leak collected per-client", "only it gives them back"
    ),
    "sensitivity-missed": Case(
        "run missing_remove:fixed --load 1 --sensitivity 1/100000 --limit 3", "inconclusive", "too few requests"
    ),
    "queries-shared": Case(
        "run shared_session:buggy --load 1 --probe queries", "leak held shared refused", "threads use one session"
    ),
    "at-rate": Case("run listen_held:buggy --at-rate 20/s", "leak held churn", "with the time until it is full"),
    "small-server": Case(
        "run missing_remove:buggy --load 1 --max-connections 12", "leak held exhausted", "held until it refuses"
    ),
}
FAULTS = {
    "fault-server-killed-buggy": Case("fault server-killed 1", "inconclusive", "the server went under load"),
    "fault-server-killed-fixed": Case("fault server-killed 2", "inconclusive", "the server went under load"),
    "fault-server-killed-quiet": Case("fault server-killed 5", "leak held", "held in the cycles before"),
    "fault-server-restarted-buggy": Case("fault server-restarted 4", "leak held", "it came back, and the leak with it"),
    "fault-server-restarted-fixed": Case("fault server-restarted 1", "inconclusive", "the server was away"),
    "fault-backends-ended-buggy": Case("fault backends-ended 1", "leak held", "others are held all the same", ENDED),
    "fault-backends-ended-fixed": Case(
        "fault backends-ended 2", "clean", "what the server ends is no fault of the app's", ENDED
    ),
    "fault-network-cut-buggy": Case("fault network-cut 1", "leak held", "it came back, and the leak with it"),
    "fault-network-cut-fixed": Case("fault network-cut 6", "inconclusive", "the server could not be reached"),
    "fault-network-silent-buggy": Case("fault network-silent 1", "leak held", "all is held once packets pass again"),
    "fault-network-silent-fixed": Case("fault network-silent 11", "inconclusive", "the server could not be read"),
    "fault-app-killed-buggy": Case("fault app-killed 2", "leak held", "the other worker holds its own"),
    "fault-app-killed-fixed": Case("fault app-killed 1", "clean", "a worker went unasked about less than half"),
    "fault-app-recycled-buggy": Case("fault app-recycled 2", "leak held", "the workers that live hold theirs"),
    "fault-app-recycled-fixed": Case("fault app-recycled 1", "inconclusive", "workers end before they are asked"),
    "fault-app-hung-buggy": Case("fault app-hung 7", "leak held", "the other worker holds its own"),
    "fault-app-hung-fixed": Case("fault app-hung 3", "inconclusive", "a worker did not answer"),
    "fault-generator-killed-buggy": Case("fault generator-killed 2", "inconclusive", "the load broke off"),
    "fault-generator-killed-fixed": Case("fault generator-killed 1", "inconclusive", "the load broke off"),
    "fault-request-log-lost-fixed": Case("fault request-log-lost 1", "inconclusive", "requests were not counted"),
    "fault-full-server-fixed": Case(
        "fault full-from-the-first 2", "inconclusive", "nothing could be run: no connection was free"
    ),
}
STOPPED = {
    "stopped-load-buggy": Case("fault sigint 1", "inconclusive", "Ctrl-C in the load"),
    "stopped-load-fixed": Case("fault sigint 3", "inconclusive", "Ctrl-C in the load"),
    "stopped-quiet-buggy": Case("fault sigint 11", "leak held", "held in the cycles before"),
    "stopped-quiet-fixed": Case("fault sigint 2", "inconclusive", "Ctrl-C before the last rest ended"),
    "killed-quiet-buggy": Case("fault connleak-killed 4", "leak held", "held in the cycles before"),
    "killed-load-fixed": Case("fault connleak-killed 8", "inconclusive", "kill -9 in the load"),
    "hung-load-buggy": Case("fault connleak-hung 4", "leak held", "held all the same"),
    "hung-rest-fixed": Case("fault connleak-hung 1", "inconclusive", "the server was not read in the rest"),
}
OWN = {
    "own-no-checkout": Case(
        "own no_checkout --load 1",
        "inconclusive",
        "no request took a connection, so none could leak one",
        "the sensitivity counts requests that never take a connection",
    ),
    "own-pool": Case(
        "own own_pool --load 1",
        "clean",
        "six connections idle in a queue of the app's own, bounded and used again",
        "connections that idle in a pool which the app wrote itself count as checkouts that are still out",
    ),
    "own-startup-listener": Case(
        "own startup_listener --load 1",
        "clean",
        "a listener that a start-up thread opened is kept in a global",
        "who took it has ended, and what keeps it is not asked",
    ),
    "own-heartbeat": Case(
        "own heartbeat --load 1",
        "clean",
        "a heartbeat opens the connections, no request does",
        "churn divides all opens by the requests, whoever opened them",
    ),
    "own-logged-words": Case(
        "own logged_words --load 1",
        "clean",
        "a warning that it logs quotes an error that was dealt with",
        "a phrase in the log counts as a refusal, whoever says it",
    ),
}
CASES: dict[str, Case] = {**WATCHED, **OFF, **TRUST, **FAULTS, **STOPPED, **OWN}
