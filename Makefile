# Everything runs inside .venv; PYTHON names the interpreter that makes it (3.10 to 3.14).
FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3.10 python3; do \
	$$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: there is a process for every core. A process that crashes ends the run with the name of its test: the tests
# of one that is restarted would never be handed out again under loadgroup.
SPREAD := -n auto --dist loadgroup --max-worker-restart=0
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup setup-dev demo test test-all test-oldest test-newest lint style types fast-tests slow-tests bench docs clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'no Python 3.10 to 3.14 found; install one or run: make PYTHON=/path/to/python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip uv

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/uv pip install -q --python $(BIN)/python -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[dev]'
	@touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[dev,bench]'
	@touch $@

setup: $(VENV)/.core  ## Install what a user needs into .venv
setup-dev: $(VENV)/.dev  ## Install what a developer needs into .venv

demo: setup  ## Mine the sample that the package carries and print what was found
	$(BIN)/speechkit mine recipes/mining/sample/audio recipes/mining/sample/documents --out demo-out

test: style  ## Check the code and run the tests that take seconds
	@$(MAKE) --no-print-directory -j 2 types fast-tests

test-all: test slow-tests  ## The same, then the trainings, whole recipes and browsers

lint: style types  ## Check style and types only

style: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup-dev
	$(BIN)/mypy

fast-tests: setup-dev
	$(PYTEST) -m 'not slow'

slow-tests: setup-dev
	$(PYTEST) -m slow

# Environments of their own; OLDEST and NEWEST are a version or the path of a Python (pyenv has it, or uv finds it).
OLDEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python) 3.10)
NEWEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python) 3.13)
test-oldest: | $(BIN)/python  ## Run the fast tests on Python 3.10 with the oldest libraries that are allowed
	$(BIN)/uv venv -q --allow-existing --python $(OLDEST) .venv-oldest
	$(BIN)/uv pip install -q --resolution lowest-direct --python .venv-oldest/bin/python -e '.[test]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(SPREAD) -m 'not slow'

test-newest: | $(BIN)/python  ## Run the fast tests on Python 3.13 with the newest libraries
	$(BIN)/uv venv -q --allow-existing --python $(NEWEST) .venv-newest
	$(BIN)/uv pip install -q --upgrade --python .venv-newest/bin/python -e '.[test]'
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest $(SPREAD) -m 'not slow'

bench: $(VENV)/.bench  ## Run the benchmarks and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.run

docs: | $(BIN)/python  ## Build the documentation into site/
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:  ## Remove what can be made again
	rm -rf demo-out site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .test_cache
