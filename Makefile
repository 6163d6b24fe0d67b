# connleak: `make demo` shows what it does, `make test` runs the tests. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test coverage golden snapshots mutants matrix lint e2e corpus gallery faults faults-full soak bench bench-full all-tests clean

# requirements.lock holds hashes and no addresses: packages come from the index that pip or uv is configured with.
$(VENV)/installed: requirements.lock pyproject.toml make_venv.py
	@echo "Setting up, once (one to two minutes, less with pip's cache):"
	@$(PYTHON) make_venv.py $(VENV)
	@touch $@

demo: $(VENV)/installed
	@echo "1 of 2: a Flask app that never returns its connections, under load, on its own PostgreSQL (about 15 s)"
	@$(BIN)/connleak run missing_remove:buggy --expect leak
	@echo "2 of 2: the same app, fixed"
	@$(BIN)/connleak run missing_remove:fixed --expect clean
	@printf '%s\n' "" \
	  "The bug is a LEAK and its fix is CLEAN, as expected. Next:" \
	  "  $(BIN)/connleak open latest     the last report in a browser: reports/latest/report.html" \
	  "  $(BIN)/connleak list            every bug in the corpus; connleak run NAME runs one" \
	  "  $(BIN)/connleak watch postgresql://user@127.0.0.1/dbname     watch a live database" \
	  "  $(BIN)/connleak run --app 'gunicorn app:app' --url http://127.0.0.1:8000     your own app: docs/your-own-app.md"

# SKIPS_TO=FILE: write a line for each test that is skipped because a program is missing
test: $(VENV)/installed
	@echo "Unit tests, real databases, one whole run (about four minutes); tests whose program is missing are skipped and counted"
	@$(BIN)/python -m pytest -m "not matrix" $(if $(SKIPS_TO),--skips-to "$(SKIPS_TO)") tests/unit tests/integration tests/e2e/test_smoke.py

# line coverage of connleak's own process by the unit and integration tests; child processes are not measured (ten minutes)
coverage: $(VENV)/installed
	$(BIN)/coverage run -m pytest -m "not matrix" tests/unit tests/integration
	$(BIN)/coverage report --skip-covered --sort=cover

# write the verdicts on all stored recordings to tests/golden/verdicts.json, to be reviewed with git diff (seconds)
golden: $(VENV)/installed
	cd tests && ../$(BIN)/python -m golden --write

# write help texts and terminal answers anew, to be reviewed with git diff (seconds)
snapshots: $(VENV)/installed
	CONNLEAK_SNAPSHOTS=write $(BIN)/python -m pytest $$(grep -l "import.*snapshots\|snapshots import" tests/unit/test_*.py)

# make small changes to the judge's code and list those that no test notices (a quarter of an hour)
mutants: $(VENV)/installed
	$(BIN)/python benchmarks/mutants.py

# the probe in Python 3.8 to 3.13 and SQLAlchemy 1.4 to 2.1, under every supported server and framework
matrix: $(VENV)/installed
	$(BIN)/python -m pytest -m matrix tests/integration

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# whole runs by the command line: also in a container, on several hosts, in Locust's page (about twenty minutes)
e2e: $(VENV)/installed
	$(BIN)/python -m pytest tests/e2e

# every variant of every target gets its promised verdict (under half an hour); CI runs changed variants and a sample
corpus: $(VENV)/installed
	$(BIN)/connleak corpus --prepare --jobs 3
	$(BIN)/connleak corpus --jobs 3
	git rev-parse HEAD >ci/whole-pass

# draw the field guide from the recordings in reports/gallery (under a minute)
gallery: $(VENV)/installed
	$(BIN)/connleak gallery

# inject one fault of each kind into a real run; bad input, kills, planted secrets (a quarter of an hour; as root)
faults: $(VENV)/installed
	$(BIN)/python -m pytest tests/faults

# five hundred faults, appended to benchmarks/results/faults.jsonl and resumable; forty times as many bad inputs
faults-full: $(VENV)/installed
	cd tests && ../$(BIN)/python -m support.nemeses --seeds 12 --out ../benchmarks/results/faults.jsonl --page ../docs/reliability.md
	CONNLEAK_FUZZ=40 $(BIN)/python -m pytest tests/faults/test_bad_input.py

# an hour of load, restarts and recycled workers: draw connleak's own memory and file descriptors, which must stay flat
soak: $(VENV)/installed
	$(BIN)/python benchmarks/soak.py

# overhead and detection rates, appended to benchmarks/results (at most eight minutes)
bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

# the same with all repetitions; resumable (hours)
bench-full: $(VENV)/installed
	$(BIN)/python benchmarks/run.py --full

all-tests: lint test matrix e2e corpus faults

clean:
	rm -rf $(VENV) dist .coverage .mypy_cache .ruff_cache .pytest_cache
