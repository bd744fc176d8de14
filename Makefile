# make repro: set up and run the pipeline.  make test: set up and run the tests.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test test-slow lint bench clean

repro: .venv/installed
	dvc repro

test: .venv/installed
	pytest

test-slow: .venv/installed
	pytest -m slow

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy

bench: .venv/installed
	python benchmarks/bench_ridge.py

# Stamped, so that a second run of any target sets up nothing.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,lint]"
	touch $@

clean:
	rm -rf .venv artifacts
