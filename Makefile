# Every target makes .venv by itself. PYTHON chooses the interpreter (3.11 or newer) that it is made from.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
RUN := .venv/.installed
DEV := .venv/.installed-dev
CODE := pfndispatchcopy tests benchmarks examples

.PHONY: help demo offload test test-tools test-all lint types bench clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(RUN): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(BIN)/python -m compileall -q pfndispatchcopy
	@touch $@

$(DEV): pyproject.toml $(RUN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(RUN) ## copy a real file to two destinations, verified, and show it
	@$(BIN)/python examples/quick_demo.py

offload: $(RUN) ## copy your own files: make offload SRC=card DEST="/mnt/a /mnt/b"
	@test -n "$(SRC)" && test -n "$(DEST)" || { echo 'usage: make offload SRC=path DEST="folder folder ..."' >&2; exit 2; }
	@$(BIN)/pfndispatchcopy "$(SRC)" $(DEST)

test: $(DEV) ## the test suite (under five minutes)
	@$(BIN)/python -m pytest -n auto --dist worksteal

test-tools: $(DEV) ## hash lists against the reference tools, installed into .venv-mhl
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'tools and not slow'

test-all: $(DEV) ## the test suite with the long tests, and a minute of fuzzing
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@$(BIN)/python -m pytest -n auto --dist worksteal -m ''

lint: $(DEV) ## ruff: rules and format
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

types: $(DEV) ## mypy --strict over package, tests and benchmarks
	@$(BIN)/mypy

bench: $(RUN) ## side by side with cp, tee, dd and rsync
	@$(BIN)/python -m benchmarks.compare
	@$(BIN)/python -m benchmarks.compare_folder

clean: ## remove what was made
	@rm -rf .venv .venv-mhl build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
