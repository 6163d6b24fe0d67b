# connleak: `make demo` shows the main job, `make test` runs the tests. Both set everything up in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test golden snapshots mutants matrix lint reproduction corpus gallery faults faults-full soak bench bench-full all-tests clean

# The lock holds hashes and no addresses: the packages come from wherever pip or uv is set up to look.
$(VENV)/installed: requirements.lock pyproject.toml make_venv.py
	@echo "Setting up, once (one to two minutes, less with pip's cache):"
	@$(PYTHON) make_venv.py $(VENV)
	@touch $@

demo: $(VENV)/installed
	@echo "1 of 2: a Flask app that never gives its connections back, under load, on a PostgreSQL of its own (about 15 s)"
	@$(BIN)/connleak run missing_remove:buggy --expect leak
	@echo "2 of 2: the same app, mended"
	@$(BIN)/connleak run missing_remove:fixed --expect clean
	@printf '%s\n' "" \
	  "The bug was a LEAK, and its fix is CLEAN: both as expected. What next:" \
	  "  $(BIN)/connleak open latest     the last report in a browser: reports/latest/report.html" \
	  "  $(BIN)/connleak list            every leak that it reproduces; connleak run NAME runs one" \
	  "  $(BIN)/connleak watch postgresql://user@127.0.0.1/dbname     a database that is in use already" \
	  "  $(BIN)/connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000     your own app: docs/your-own-app.md"

# SKIPS_TO=FILE: what was skipped for want of a program, a line for each test
test: $(VENV)/installed
	@echo "Unit tests, real databases, and the demo (about four minutes); what lacks its program is skipped, and counted at the end"
	@$(BIN)/python -m pytest -m "not matrix" $(if $(SKIPS_TO),--skips-to "$(SKIPS_TO)") tests/unit tests/integration tests/e2e/test_smoke.py

# the stored recordings' verdicts, written anew: the difference is reviewed in git (seconds)
golden: $(VENV)/installed
	cd tests && ../$(BIN)/python -m golden --write

# the help texts and terminal answers in tests/unit/snapshots, written anew: the difference is reviewed in git
snapshots: $(VENV)/installed
	CONNLEAK_SNAPSHOTS=write $(BIN)/python -m pytest -q $$(grep -l "^from snapshots import" tests/unit/test_*.py)

# how much of the judge the tests pin: small changes of its code, and which of them turn a test red (a quarter of an hour)
mutants: $(VENV)/installed
	$(BIN)/python benchmarks/mutants.py

# the probe in Python 3.8 to 3.13 and SQLAlchemy 1.4 to 2.1, under every server and framework that it knows
matrix: $(VENV)/installed
	$(BIN)/python -m pytest -m matrix tests/integration

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# runs by the command line, for real: also in a container, on several machines, in Locust's page (about twenty minutes)
reproduction: $(VENV)/installed
	$(BIN)/python -m pytest tests/e2e

# every variant of every target, held to what it promises (under half an hour); CI runs what changed since, and a sample
corpus: $(VENV)/installed
	$(BIN)/connleak corpus --prepare --jobs 3
	$(BIN)/connleak corpus --jobs 3
	git rev-parse HEAD >.ci/whole-pass

# the field guide, drawn from the recordings in reports/gallery (under a minute)
gallery: $(VENV)/installed
	$(BIN)/connleak gallery

# one fault of each kind injected into a real run, bad input, kills, planted secrets (about a quarter of an hour; as root)
faults: $(VENV)/installed
	$(BIN)/python -m pytest tests/faults

# five hundred faults, appended to benchmarks/results/faults.jsonl; goes on where it stopped; and forty times the inputs
faults-full: $(VENV)/installed
	cd tests && ../$(BIN)/python -m nemeses --seeds 12 --out ../benchmarks/results/faults.jsonl --page ../docs/reliability.md
	CONNLEAK_FUZZ=40 $(BIN)/python -m pytest tests/faults/test_bad_input.py

# an hour of load, restarts and recycled workers: its own memory and descriptors stay flat, and are drawn
soak: $(VENV)/installed
	$(BIN)/python benchmarks/soak.py

# what it costs and how well it sees, appended to benchmarks/results (at most eight minutes)
bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

# the same with all repetitions; goes on where it stopped (hours)
bench-full: $(VENV)/installed
	$(BIN)/python benchmarks/run.py --full

all-tests: lint test matrix reproduction corpus faults

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache
