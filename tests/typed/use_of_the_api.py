"""What mypy sees of connleak in a user's code; `make lint` checks it, and an ignore that is not needed is an error."""

from pathlib import Path
from typing import assert_type

import connleak
from connleak import Comparison, Recording, Result, RunOptions, Verdict, compare, judge, read, run

assert_type(run("missing_remove:buggy"), Result)
assert_type(run(RunOptions(app="gunicorn app:app", url="http://127.0.0.1:8000", users=8), out="run").verdict, Verdict)
assert_type(read(Path("run")), Recording)
assert_type(judge(read("run")).outcome == "leak", bool)
assert_type(compare("missing_remove:buggy", "fixed", rounds=2), Comparison)
assert_type(connleak.judge("run"), Verdict)
assert_type(connleak.__version__, str)

run("missing_remove", users=8)  # type: ignore[call-arg]
RunOptions(users="8")  # type: ignore[arg-type]
RunOptions(no_such_option=1)  # type: ignore[call-arg]
_ = connleak.no_such_name  # type: ignore[attr-defined]
