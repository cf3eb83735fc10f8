# Everything a user or a contributor runs. `make VENV=DIR PYTHON=python3.13 test` uses another interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install train test test-long test-slurm check bench soak fuzz

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
STAMP := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
# Where this is set, each of the tests' hundreds of processes would compile anew all that it imports.
export PYTHONDONTWRITEBYTECODE :=

help:
	@echo "make train    install into $(VENV) and train the preset tiny; ARGS='--train.steps 400' changes it"
	@echo "make test     run the tests"
	@echo "make test-long   run the tests that take minutes: every command of the guides, long jobs that are killed"
	@echo "make test-slurm  run the tests on a real Slurm (as root; packages slurmctld slurmd slurm-client munge)"
	@echo "make check    check format, lint and types"
	@echo "make bench    measure speed, as JSON"
	@echo "make soak     harm real jobs for hours and count what held; ARGS='--minutes 30' ends it earlier"
	@echo "make fuzz     try 3,000 command lines over strange files, paths and surroundings; ARGS='--seed 1' others"
	@echo "make install  make $(VENV) with the pinned packages, if it is not up to date"

install: $(STAMP)

# Rebuilt only when the pins, the package list or this file change.
$(STAMP): pyproject.toml Makefile $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) -V), but MeshLoom needs 3.11 or newer; try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "error: $(PYTHON) has no ensurepip, which makes virtual environments; try: sudo apt install python3-venv" >&2; exit 1; }
	@rm -f $(STAMP)
	$(PYTHON) -m venv $(VENV)
	@pins=requirements/$$($(PYTHON) -c 'import sys; print("py311" if sys.version_info < (3, 12) else "py312")').txt; \
	  echo "installing the packages of $$pins"; \
	  $(PIP) --no-compile --require-hashes -r $$pins
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

train: install
	$(VENV)/bin/meshloom train tiny $(ARGS)

test: install
	$(VENV)/bin/python -m pytest $(ARGS)

test-long: install
	$(VENV)/bin/python -m pytest -m long $(ARGS)

test-slurm: install
	$(VENV)/bin/python -m pytest -m slurm --numprocesses=0 $(ARGS)

check: install
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python

bench: install
	$(VENV)/bin/python -m tests.bench $(ARGS)

soak: install
	$(VENV)/bin/python -m tests.soak $(ARGS)

fuzz: install
	$(VENV)/bin/python -m tests.fuzz $(ARGS)
