# make repro: set up and run the pipeline.  make test: set up and run the tests.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# CLIP's network. Without their dependencies, which come with ours: torchvision asks for one build of torch,
# and would replace the one that is there.
CLIP := open_clip_torch timm torchvision

.PHONY: repro test test-slow lint audit bench clean

repro: .venv/installed
	dvc repro

test: .venv/installed
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile

test-slow: .venv/installed
	OMP_NUM_THREADS=1 pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	ruff check .
	ruff format --check .
	mypy

# Known vulnerabilities of the pinned packages. An index without that data is said to be unaudited, package by package.
audit: .venv/installed
	pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

bench: .venv/installed
	python benchmarks/bench_ridge.py
	python benchmarks/bench_vdvae.py

# Stamped, so that a second run of any target sets up nothing.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,lint]"
	pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps $(CLIP)
	touch $@

clean:
	rm -rf .venv artifacts
