# Every target makes .venv by itself. PYTHON chooses the interpreter (3.11 or newer) that it is made from.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
RUN := .venv/.installed
DEV := .venv/.installed-dev
RESULTS := docs/benchmarks.json
FAULTS := build/faults.json
SECONDS ?= 120
CODE := pfndispatchcopy tests benchmarks docs examples

.PHONY: help demo offload test test-tools test-cluster test-kernels test-all faults soak guarantees lint types bench bench-report roofline manual pyz dist screenshots clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(RUN): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making .venv, once: this takes a moment" >&2; $(PYTHON) -m venv .venv; }
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

test: $(DEV) ## the test suite (eight minutes on two processors)
	@$(BIN)/python -m pytest -n auto --dist worksteal

test-tools: $(DEV) ## hash lists against the reference tools, installed into .venv-mhl
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'tools and not slow'

test-cluster: $(DEV) ## folders by Dask, MPI and loky, installed into .venv-cluster
	@$(BIN)/python -m pytest -n 1 -m 'cluster and not slow'

# Volumes, loop devices and the time that a hang may take are shared by all that runs at once: what fails has to fail
# a second time, by itself.
test-kernels: $(DEV) ## faults of real file systems, with what this machine has for them; installs nothing
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'kernel and not slow' --fault-table || \
		$(BIN)/python -m pytest -m 'kernel and not slow' --last-failed

faults: $(DEV) ## every fault of the catalogue, every test of it, and the table; as root, installs what that needs
	@packages=$$(sed 's/#.*//' tests/kernel/packages.txt); \
	if test "$$(id -u)" -eq 0 && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -qq -y --no-install-recommends $$packages >/dev/null 2>&1 || \
		for package in $$packages; do \
			apt-get install -qq -y --no-install-recommends $$package >/dev/null 2>&1 || \
			echo "$$package cannot be installed: tests that need it are skipped"; \
		done; \
	else \
		echo "nothing is installed (that takes root and apt-get); tests that lack one of these are skipped:" $$packages; \
	fi
	@mkdir -p $(dir $(FAULTS)) && rm -f $(FAULTS)
	@ended=0; \
	$(BIN)/python -m pytest -n auto --dist worksteal -m '' --fault-record $(FAULTS) tests/faults tests/kernel || ended=1; \
	$(BIN)/python -m pytest -n auto --dist worksteal -m fault --ignore tests/faults --ignore tests/kernel \
		--fault-record $(FAULTS) --fault-table tests || ended=1; \
	exit $$ended

soak: $(DEV) ## random offloads with random faults: make soak SECONDS=120 SEED=7
	@$(BIN)/python -m tests.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(ROUND),--round $(ROUND))

guarantees: $(DEV) ## the table in docs/guarantees.md, from the catalogue of faults and from the tests
	@$(BIN)/python -m tests.faults.guarantees

test-all: $(DEV) ## the test suite with the long tests, and a minute of fuzzing
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@$(BIN)/python -m pytest -n auto --dist worksteal -m ''

lint: $(DEV) ## ruff: rules and format
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

types: $(DEV) ## mypy --strict over package, tests and benchmarks
	@$(BIN)/mypy

# Ocopy wants packages of its own; without it, it is named as left out.
.venv-peers/bin/ocopy:
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check ocopy || echo "ocopy cannot be had: it is left out"

screenshots: $(DEV) ## the pictures in docs/: the bars, and the report (needs Chromium)
	@$(BIN)/python -m docs.making.bars_picture
	@$(BIN)/python -m tests.report_screenshots

bench: $(RUN) .venv-peers/bin/ocopy ## side by side with those who are installed: make bench BENCH="--rounds 9 --minutes 60"
	@$(BIN)/python -m benchmarks.compare --all --json $(RESULTS) $(BENCH)

bench-report: $(RUN) ## docs/benchmarks.md and its plots, from what make bench found
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(BIN)/python -m benchmarks.report $(RESULTS)

roofline: $(RUN) ## compile the limit in C, build/roofline
	@$(BIN)/python -m benchmarks.roofline

manual: $(RUN) ## what is made from the table of options: completions, man page, docs/reference.md
	@$(BIN)/python -m docs.making.manual

pyz: $(RUN) ## one file, dist/pfndispatchcopy.pyz, for machines like this one without pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[report]'
	@$(BIN)/python -m docs.making.pyz

dist: $(DEV) ## wheel and sdist in dist/, the same bytes every time
	@$(BIN)/python -m hatchling build -d dist

clean: ## remove what was made
	@rm -rf .venv .venv-mhl .venv-cluster .venv-peers build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
