"""The recordings made for the golden verdicts: the way to make each, its right verdict, and the reason."""

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
    """The reason for which the present verdict is wrong; empty if it is right."""


def outcome_of(verdict: Verdict) -> str:
    """Return a verdict's outcome and kinds of findings, in order and as text, like `Case.right`."""
    return " ".join([verdict.outcome, *dict.fromkeys(finding.kind for finding in verdict.findings)])


def known_wrong(name: str) -> str:
    """Return the reason for which a recording's golden verdict is wrong; empty if it is right."""
    case = CASES.get(name.removeprefix("golden/"))
    return case.known_wrong if case else ""


ENDED = "the driver's errors about sessions that the server ended count as the app's fault"
LAST_ALONE = "only the last window is judged: `No connection was held throughout a window` is false for earlier ones"
WATCHED = {
    "watch-empty": Case("watch empty", "inconclusive", "without a session, it may be the wrong server"),
    "watch-quiet": Case("watch quiet", "clean", "three sessions are idle throughout"),
    "watch-busy": Case(
        "watch busy",
        "clean",
        "every connection is returned; the pool was full before",
        "the first read takes place just before the baseline, the next just after it: the baseline counts no session",
    ),
    "watch-leak": Case("watch leak", "leak held", "another transaction is left open every 0.7 s"),
    "watch-until-leak": Case("watch until_leak", "leak held", "one transaction was left open before the watch began"),
    "watch-renewed": Case("watch renewed", "clean", "a batch job commits regularly"),
    "watch-report": Case("watch report", "clean", "a long statement is running, no transaction is left open"),
    "watch-fills": Case("watch fills", "inconclusive", "idle sessions increase: a pool that fills, or a leak"),
    "watch-max-idle-kept": Case("watch max_idle_kept", "clean", "they increase to five, which the user allows"),
    "watch-max-idle-exceeded": Case(
        "watch max_idle_exceeded", "leak growth", "the user allows two, and they keep increasing"
    ),
    "watch-full": Case(
        "watch full",
        "inconclusive",
        "the server is full, so no more are possible",
        "the watch's own session has the last connection, and is not counted",
    ),
    "watch-lock": Case("watch lock", "leak lock-held", "an idle session has an advisory lock"),
    "watch-short": Case("watch short", "inconclusive", "two windows show no growth"),
    "watch-interrupted": Case("watch interrupted", "clean", "Ctrl-C ends a watch as planned"),
    "watch-states-hidden": Case(
        "watch states_hidden", "inconclusive", "the role may not read the state of others' sessions"
    ),
    "watch-reads-refused": Case("watch reads_refused", "inconclusive", "the server was not read for four seconds"),
    "watch-restarted": Case("watch restarted", "inconclusive", "the server was unreachable"),
    "watch-leaker-ends": Case(
        "watch leaker_ends", "leak held", "the leak was observed before its app ended", LAST_ALONE
    ),
    "watch-probe-clean": Case("watch probe_clean", "clean", "requests continue, and every connection is returned"),
    "watch-probe-leak": Case("watch probe_leak", "leak held", "a line does not return its checkouts"),
    "watch-probe-strangers": Case(
        "watch probe_strangers", "clean", "the probe separates the app's sessions from others'"
    ),
    "watch-probe-leaker-ends": Case(
        "watch probe_leaker_ends", "leak held", "the leak was observed before its app ended", LAST_ALONE
    ),
    "watch-mysql-held": Case("watch mysql_held", "leak held", "a transaction is left open on MariaDB"),
    "watch-mysql-hidden": Case("watch mysql_hidden", "inconclusive", "the account may not read others' states"),
}
OFF = {
    "off-missing_remove-buggy": Case("run missing_remove:buggy --load 1 --probe off", "leak held", "open transactions"),
    "off-missing_remove-fixed": Case(
        "run missing_remove:fixed --load 1 --probe off",
        "inconclusive",
        "without a probe or --max-idle, idle sessions are no evidence",
    ),
    "off-missing_remove-fixed-max-idle": Case(
        "run missing_remove:fixed --load 1 --probe off --max-idle 16",
        "clean",
        "the user allows the idle connections of the pools",
    ),
    "off-wrong_commit_only": Case(
        "run missing_remove:wrong_commit_only --load 1 --probe off",
        "leak held",
        "a read after commit() begins a transaction",
    ),
    "off-listen_held-buggy": Case(
        "run listen_held:buggy --probe off",
        "leak growth per-client",
        "idle listeners exceed the size that pools can reach: users x processes",
    ),
    "off-listen_held-buggy-max-idle": Case(
        "run listen_held:buggy --probe off --max-idle 4",
        "leak growth per-client",
        "they exceed the number that the user allows",
    ),
    "off-listen_held-fixed": Case(
        "run listen_held:fixed --probe off --max-idle 4", "clean", "one listener per process"
    ),
    "off-listen_held-per_client": Case(
        "run listen_held:wrong_per_client --probe off --max-idle 4",
        "strained per-client",
        "one connection for each open page",
    ),
    "off-pool_too_small": Case(
        "run pool_too_small:control --load 1 --probe off --max-idle 20",
        "inconclusive",
        "callers time out, which only a probe reports",
    ),
    "off-engine_per_request": Case(
        "run engine_per_request:buggy --load 1 --probe off --max-idle 10", "leak growth", "engines are not disposed of"
    ),
    "off-engine_disposed": Case(
        "run engine_per_request:wrong_dispose_each_time --load 1 --probe off --max-idle 10",
        "clean",
        "every connection is returned; without a probe churn is not judged",
    ),
    "off-lock_left_behind": Case(
        "run lock_left_behind:buggy --load 1 --probe off --max-idle 20", "leak lock-held", "the server shows locks"
    ),
    "off-small-server": Case(
        "run missing_remove:buggy --load 1 --probe off --max-connections 12",
        "leak held exhausted",
        "transactions are left open until the server refuses",
    ),
}
TRUST = {
    "canary-leak": Case(
        "run missing_remove:buggy --load 1 --canary", "leak held", "the app's leak beside the planted one"
    ),
    "canary-clean": Case("run missing_remove:fixed --load 1 --canary", "clean", "the planted leak is no finding"),
    "canary-strained": Case(
        "run pool_too_small:control --load 1 --canary",
        "strained exhausted",
        "the planted leak takes no slot of the pool",
    ),
    "gc-off-dropped": Case(
        "run abandoned_stream:buggy --load 1 --gc off", "leak held collected", "held until a last collection"
    ),
    "gc-off-fixed": Case("run missing_remove:fixed --load 1 --gc off", "clean", "returned without the collector"),
    "gc-eager-dropped": Case(
        "run abandoned_stream:buggy --load 1 --gc eager", "leak collected per-client", "only the collector returns them"
    ),
    "sensitivity-missed": Case(
        "run missing_remove:fixed --load 1 --sensitivity 1/100000 --limit 3", "inconclusive", "too few requests"
    ),
    "queries-shared": Case(
        "run shared_session:buggy --load 1 --probe queries", "leak held shared refused", "threads use one session"
    ),
    "at-rate": Case("run listen_held:buggy --at-rate 20/s", "leak held churn", "with the time until the limit"),
    "small-server": Case(
        "run missing_remove:buggy --load 1 --max-connections 12", "leak held exhausted", "held until the server refuses"
    ),
}
FAULTS = {
    "fault-server-killed-buggy": Case("fault server-killed 1", "inconclusive", "the server was killed under load"),
    "fault-server-killed-fixed": Case("fault server-killed 2", "inconclusive", "the server was killed under load"),
    "fault-server-killed-quiet": Case("fault server-killed 5", "leak held", "held in the cycles before"),
    "fault-server-restarted-buggy": Case(
        "fault server-restarted 4", "leak held", "the server restarted, and the leak continued"
    ),
    "fault-server-restarted-fixed": Case("fault server-restarted 1", "inconclusive", "the server was unreachable"),
    "fault-backends-ended-buggy": Case("fault backends-ended 1", "leak held", "other connections are held", ENDED),
    "fault-backends-ended-fixed": Case(
        "fault backends-ended 2", "clean", "sessions that the server ends are not the app's fault", ENDED
    ),
    "fault-network-cut-buggy": Case("fault network-cut 1", "leak held", "the server restarted, and the leak continued"),
    "fault-network-cut-fixed": Case("fault network-cut 6", "inconclusive", "the server was unreachable"),
    "fault-network-silent-buggy": Case(
        "fault network-silent 1", "leak held", "connections are held after the network recovers"
    ),
    "fault-network-silent-fixed": Case("fault network-silent 11", "inconclusive", "the server could not be read"),
    "fault-app-killed-buggy": Case("fault app-killed 2", "leak held", "the other worker holds its connections"),
    "fault-app-killed-fixed": Case("fault app-killed 1", "clean", "less than half of the checkouts are unobserved"),
    "fault-app-recycled-buggy": Case("fault app-recycled 2", "leak held", "the running workers hold their connections"),
    "fault-app-recycled-fixed": Case("fault app-recycled 1", "inconclusive", "workers end before a snapshot"),
    "fault-app-hung-buggy": Case("fault app-hung 7", "leak held", "the other worker holds its connections"),
    "fault-app-hung-fixed": Case("fault app-hung 3", "inconclusive", "a worker did not answer"),
    "fault-generator-killed-buggy": Case("fault generator-killed 2", "inconclusive", "the load ended early"),
    "fault-generator-killed-fixed": Case("fault generator-killed 1", "inconclusive", "the load ended early"),
    "fault-request-log-lost-fixed": Case("fault request-log-lost 1", "inconclusive", "requests were not counted"),
    "fault-full-server-fixed": Case(
        "fault full-from-the-first 2", "inconclusive", "no connection was available for the run"
    ),
}
STOPPED = {
    "stopped-load-buggy": Case("fault sigint 1", "inconclusive", "Ctrl-C under load"),
    "stopped-load-fixed": Case("fault sigint 3", "inconclusive", "Ctrl-C under load"),
    "stopped-quiet-buggy": Case("fault sigint 11", "leak held", "held in the cycles before"),
    "stopped-quiet-fixed": Case("fault sigint 2", "inconclusive", "Ctrl-C before the end of the final idle window"),
    "killed-quiet-buggy": Case("fault connleak-killed 4", "leak held", "held in the cycles before"),
    "killed-load-fixed": Case("fault connleak-killed 8", "inconclusive", "kill -9 under load"),
    "hung-load-buggy": Case("fault connleak-hung 4", "leak held", "held nevertheless"),
    "hung-rest-fixed": Case("fault connleak-hung 1", "inconclusive", "the server was not read in the idle window"),
}
OWN = {
    "own-no-checkout": Case(
        "own no_checkout --load 1",
        "inconclusive",
        "no request checked out a connection, so none could leak one",
        "the sensitivity counts requests without a checkout",
    ),
    "own-pool": Case(
        "own own_pool --load 1",
        "clean",
        "six connections are idle in the app's queue, which is bounded and reused",
        "idle connections of a pool that the app implements count as outstanding checkouts",
    ),
    "own-startup-listener": Case(
        "own startup_listener --load 1",
        "clean",
        "a global variable keeps a listener that a start-up thread opened",
        "its thread has ended, and references to it are not examined",
    ),
    "own-heartbeat": Case(
        "own heartbeat --load 1",
        "clean",
        "a heartbeat opens the connections, not the requests",
        "churn divides all opened connections by the requests, including those opened outside of requests",
    ),
    "own-logged-words": Case(
        "own logged_words --load 1",
        "clean",
        "a logged warning quotes an error that was handled",
        "a phrase in the log counts as a driver error, also outside of a driver's message",
    ),
}
CASES: dict[str, Case] = {**WATCHED, **OFF, **TRUST, **FAULTS, **STOPPED, **OWN}
