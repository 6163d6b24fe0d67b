"""The command that makes a run again."""

from __future__ import annotations

import shlex

from connleak.model.plan import Plan


def rerun_command(plan: Plan) -> str:
    """Return the command line of a run; for a run of a comparison or of the corpus, one for this run alone."""
    argv = [word for n, word in enumerate(plan.argv) if word != "--out" and plan.argv[n - 1 if n else 0] != "--out"]
    argv = [word for word in argv if not word.startswith("--out=")]
    if argv[:1] not in (["run"], ["compare"]):
        own = plan.kind in ("app", "remote")
        argv = ["run", "--app", plan.app] if own else ["run", f"{plan.target}:{plan.variant}"]
        argv += ["--url", plan.url] if own and plan.url else []
    return shlex.join(["connleak", *argv])
