# Works on a fresh clone with nothing but Python (3.11 or newer) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench perf docs test test-all fuzz quick whole lint style types format clean
.DEFAULT_GOAL := help

help:
	@echo "make bench     run the default sweep, write reports/default/, time every trial with pytest-benchmark"
	@echo "make perf      measure our own speed against peers, write reports/performance/"
	@echo "make docs      make the tables of the documentation anew and build it as a site, in site/"
	@echo "make test      lint, types and tests"
	@echo "make test-all  the same with the slow tests, which CI leaves out"
	@echo "make fuzz      change configs, records and other inputs at random for as long as TIMES says: make fuzz TIMES=100"
	@echo "make format    format the code"
	@echo "make clean     remove the environment, caches and run directories"

# The stamp is made last, so that an interrupted installation is taken up again.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

bench: $(VENV)/.installed
	$(BIN)/sparsebench run
	$(BIN)/python -m pytest benchmarks/test_latency.py --benchmark-only --sparsebench-run runs/default \
		--benchmark-columns=median,iqr,rounds

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

# Files stay whole, so that what their tests share is made once.
quick: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile -m "not slow"

whole: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

TIMES ?= 20
fuzz: $(VENV)/.installed
	SPARSEBENCH_FUZZ=$(TIMES) $(BIN)/python -m pytest -q tests/test_mutated_*.py

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
	rm -rf $(VENV) runs site .cache .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
