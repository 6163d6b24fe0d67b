# Sourced by each step: strict mode, the repository as the working folder, and functions that several steps share.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
work=${CONNLEAK_CI_WORK:-} # files that one step makes for another; a step that runs alone makes its folder
if [ -z "$work" ]; then
  work=$(mktemp -d -t ci-XXXXXX)
  export CONNLEAK_CI_WORK=$work
  trap 'rm -rf "$work"' EXIT
fi

# Make .venv unless it is there.
venv() { make --silent .venv/installed; }

# Run pytest; a test that fails is run once more, because the machine may be busy with the other lane.
# A real failure fails twice; a test that needed its second try is listed as RERUN, and again at the end of .ci/run.
pytest_twice() { $python -m pytest --reruns 1 -raR "$@"; }

# Build the wheel unless an earlier step has.
wheel() { compgen -G "$work/dist/*.whl" >/dev/null || ci/steps/wheel; }
