# make demo   the main job on real data: a trained network, a mouse, a human, on one page
# make test   all quick tests, with ruff, mypy and import-linter
# make bench  speed, memory and quality beside other software (BENCH=communities)
# Both set up what they need in .venv; nothing but Python 3.11 to 3.13, make and a package index is required.

PYTHON ?= python3
BIN := .venv/bin
OTHERS := atlases plugins/ctrnn plugins/allen plugins/hcp
STAMP := .venv/ready
JOBS ?= 2
# Other versions have no wheels of the pinned packages: pip would try to compile them, and fail late.
CHECK_PYTHON := import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
  "The pinned packages have wheels for Python 3.11 to 3.13, and $(PYTHON) is %d.%d; use: make PYTHON=python3.13 ..." % v[:2])
# With ../shared/data beside the checkout its files are read in place; otherwise they are downloaded.
ifeq ($(origin FCTOOLBOX_MIRROR),undefined)
ifneq ($(wildcard ../shared/data/.),)
export FCTOOLBOX_MIRROR := $(abspath ../shared/data)
endif
endif

.PHONY: setup demo test test-all lint bench docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt atlases/pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@test -x $(BIN)/python || $(PYTHON) -c '$(CHECK_PYTHON)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	# torch first and alone: nothing else then chooses its version. Which build comes is the index's choice (see README).
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch hatchling editables
	# The core before those that need it: pip does not look for a dependency among the folders it is given with extras.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation $(addprefix --editable ./,$(OTHERS))
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/fctoolbox compare ctrnn mouse-regional human-template --or-miniature --out demo/
	@echo "Open demo/report.html in a browser."

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS)

test-all: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m "not network"

# make bench BENCH=communities   one file of benchmarks/, each claim beside a peer and its bar
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/$(or $(BENCH),communities).py $(ONLY)

docs: $(STAMP)
	$(BIN)/python docs/build_reference.py

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
