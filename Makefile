# Works on a fresh clone with nothing but Python (3.11 or newer) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench reports perf docs test test-all fuzz quick whole lint style types format clean
.DEFAULT_GOAL := help

help:
	@echo "make bench     run the default sweep, write its report to build/reports/, time every trial with pytest-benchmark"
	@echo "make reports   run the default sweep, renew its committed report in reports/ and the tables made from it"
	@echo "make perf      measure our own speed against peers, write reports/performance/"
	@echo "make docs      make the tables of the documentation anew and build it as a site, in site/"
	@echo "make test      lint, types and tests"
	@echo "make test-all  the same with the slow tests, which CI leaves out"
	@echo "make fuzz      change configs, records, checkpoints, programs and images at random, as often as TIMES says: make fuzz TIMES=100"
	@echo "make format    format the code"
	@echo "make clean     remove the environment, caches, runs and their reports"

# The stamp is made last, so that an interrupted installation is taken up again.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# What git knows stays as it is: build/ and runs/ are ignored.
bench: $(VENV)/.installed
	$(BIN)/sparsebench run --report-dir build/reports
	$(BIN)/python -m pytest benchmarks/test_latency.py --benchmark-only --sparsebench-run runs/default \
		--benchmark-columns=median,iqr,rounds

reports: $(VENV)/.installed
	$(BIN)/sparsebench run
	$(BIN)/python -m tools.tables

perf: $(VENV)/.installed
	set -e; for script in benchmarks/perf_*.py; do $(BIN)/python $$script --out reports/performance; done
	$(BIN)/python benchmarks/performance_page.py reports/performance

docs: $(VENV)/.installed
	$(BIN)/python -m tools.tables
	$(BIN)/python -m zensical build --strict --clean

# Types are checked beside the tests, which leave a core idle now and then.
test: $(VENV)/.installed style
	@$(MAKE) --no-print-directory --jobs=2 types quick

test-all: $(VENV)/.installed style
	@$(MAKE) --no-print-directory --jobs=2 types whole

# Files stay whole, so that what their tests share is made once. Tests often wait for processes of their own: one worker
# more than there are cores keeps all of them at work.
WORKERS = $$($(BIN)/python -c "from sparsebench.store.environment import available_cores as n; print(n() + 1)")

quick: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile -m "not slow"

whole: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile

TIMES ?= 20
fuzz: $(VENV)/.installed
	SPARSEBENCH_FUZZ=$(TIMES) $(BIN)/python -m pytest -q $(sort $(wildcard tests/test_mutated_*.py tests/*/test_mutated_*.py))

lint: style types

style: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs build site .cache .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
