# Everything runs inside .venv; PYTHON names the interpreter that makes it (3.10 to 3.12).
FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.10 python3; do \
	$$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup setup-dev demo test lint bench docs clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'no Python 3.10 to 3.12 found; install one or run: make PYTHON=/path/to/python3.11'; exit 2; }
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

test: setup-dev  ## Check the code and run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

lint: setup-dev  ## Check style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench  ## Run the benchmarks and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.run

docs: | $(BIN)/python  ## Build the documentation into site/
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:  ## Remove what can be made again
	rm -rf demo-out site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
