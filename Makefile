# Everything a developer runs; `make up` and `make test` work on a machine that has only Python 3.11, make and git.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DIRS := pipeline workers tests bench docs

.PHONY: setup up test lint bench faults corpus docs clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

up: setup
	$(BIN)/safelight up

# One process for each core, with servers of its own; what shares a server stays in one process (tests/shares.py).
test: setup lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check $(DIRS)
	$(BIN)/ruff format --check $(DIRS)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Files generated from the code: the editors' schema of a flow, the pages of nodes and API.
docs: setup
	SAFELIGHT_WRITE_EXAMPLES=1 $(BIN)/pytest -q tests/test_pictures.py
	$(BIN)/python docs/build.py

# `make bench ONLY=engine` runs the benchmarks whose names begin so.
bench: setup
	$(BIN)/python -m bench $(ONLY)

faults: setup
	$(BIN)/pytest -m faults tests/faults

# The pictures that other libraries test themselves with, through every node and flow; fetched into .corpus once.
corpus: setup
	$(BIN)/python -m tests.corpus.fetch
	$(BIN)/pytest -m corpus -s tests/corpus

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
