# make setup: set up.  make repro: set up and run the pipeline.  make test: set up and run the tests.
# PYTHON=python3.12 chooses another Python; TORCH=cpu insists on PyTorch without CUDA.
# make repro DATASET=cowley_v4 runs it on another data set and writes so into params.yaml; SET='-S split.n_folds=5' changes more.
PYTHON ?= python3
TORCH ?=
DATASET ?=
SET ?=
BIN := .venv/bin
# Python compiles what it imports and keeps that; compiling all of every package takes half of the time of an installation.
# Where Python is told to keep nothing, each of a hundred processes would compile PyTorch again, for 3 to 6 s: there it is
# compiled at once, but for the tests of the packages.
COMPILE = $(if $(PYTHONDONTWRITEBYTECODE),$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib src vendor stages || true)
# Without warnings: setuptools has some about every editable installation and folder of data, which pip of 26 prints.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

# The extra `published` of pyproject.toml. Without their dependencies, which come with ours: torchvision asks for one build of torch,
# and would replace the one that is there.
CLIP := open_clip_torch timm torchvision

# On Linux the builds without CUDA are named 2.13.0+cpu and stand in an index of their own, which pip must know. On macOS
# there is no other build.
CPU_TORCH = torch==$(shell sed -n 's/^torch==//p' constraints.txt)$(if $(filter Linux,$(shell uname)),+cpu)
NO_CPU_TORCH := no index that pip knows has it. Set PIP_EXTRA_INDEX_URL to the address that PyTorch names for CPU builds.

ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH is $(TORCH), expected cpu or nothing)
endif

# Parameters that go with a data set: its areas, its control, and when its responses were counted.
WITH_cowley_v4 := -S 'areas.visual=[V4]' -S areas.control=shuffled -S responses.start_s=0.05 -S responses.duration_s=0.1 \
	-S decode.posterior.prior=photographs -S decode.posterior.prior_weight=0.03 -S decode.posterior.steps=12 \
	-S decode.posterior.luminance_weight=0.1 -S decode.posterior_images.regression_share=0.5 \
	-S models.mini.diffusion.start_share=0.5 \
	-S 'regress.common.library_weights=[0.0,0.03,0.1,0.3,1.0]'
WITH_nsd := -S 'areas.visual=[nsdgeneral]' -S areas.control=shuffled -S responses.start_s=null -S responses.duration_s=null \
	-S responses.n_bins=null -S split.method=given -S recordings_remote=not_shared -S parts.analyses=false
WITH_tvsd := -S 'areas.visual=[V1,V4,IT]' -S areas.control=shuffled -S responses.start_s=null -S responses.duration_s=null \
	-S responses.n_bins=null -S split.method=given -S recordings_remote=not_shared -S parts.analyses=false

.PHONY: setup repro test test-slow lint docs audit bench clean

setup: .venv/installed

# The one program is named by its path: the make of macOS (3.81) looks for others in its own PATH, whatever a Makefile
# exports; and the scripts in bin/ hold the path that the checkout had when it was set up. The stages say `python`.
repro: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m spikevaediff dvc $(if $(DATASET)$(SET),exp run $(if $(DATASET),-S dataset=$(DATASET) )$(WITH_$(DATASET)) $(SET),repro)

# SLOW=1 runs the slow tests as well, which run the pipeline many times.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test: .venv/installed
	$(PYTEST) $(if $(SLOW),-m "")

test-slow: .venv/installed
	$(PYTEST) -m slow

lint: .venv/installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# The documentation as pages in site/: a link that leads nowhere, or a page that no menu has, is an error.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Known vulnerabilities of the pinned packages. An index without that data is said to be unaudited, package by package.
audit: .venv/installed
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

bench: .venv/installed
	$(BIN)/python benchmarks/bench_ridge.py
	$(BIN)/python benchmarks/bench_vdvae.py
	$(BIN)/python benchmarks/bench_posterior.py

# Stamped, so that a second run of any target sets up nothing.
# The pip that comes with Python 3.11 takes a minute longer to find out which versions go together; it will do, though.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:3]; (3, 11) <= v < (3, 15) and v != (3, 14, 1) or sys.exit( \
	"Python %d.%d.%d cannot run this: expected 3.11 to 3.14, except 3.14.1. Choose one: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(if $(TORCH),$(PIP) "$(CPU_TORCH)" || { echo "$(CPU_TORCH): $(NO_CPU_TORCH)" >&2; exit 1; })
	$(PIP) "pip>=25,<27" || true
	$(PIP) --editable ".[test,lint]"
	$(PIP) --no-deps $(CLIP)
	$(COMPILE)
	touch $@

.venv/docs: .venv/installed
	$(PIP) --editable ".[docs]"
	$(COMPILE)
	touch $@

clean:
	rm -rf .venv artifacts site
