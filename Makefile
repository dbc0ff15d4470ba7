# make install | test | fuzz SECONDS=3600 | check | demo | docs | site | lowest | benchmark LOGS=folder | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# test workers share the cores; more threads in each would only wait for each other
WORKERS ?= auto
THREADS ?= 1

LOWEST_TESTS = pytest pytest-xdist hypothesis polars psutil cryptography ranx check-jsonschema pyyaml
SECONDS ?= 120
SEED ?= 0

.PHONY: install demo test fuzz check format docs site lowest benchmark clean

install: $(STAMP)

# torch first and alone, so that pip keeps the build of the pinned version that the machine's index offers
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Reprise needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

demo: install
	$(BIN)/reprise demo

test: install
	OMP_NUM_THREADS=$(THREADS) $(BIN)/pytest -n $(WORKERS) --dist loadgroup --maxprocesses 8

# random inputs for SECONDS in all; a failure names the seed that repeats it, and SEED=N sets the first one
fuzz: install
	FUZZ_SECONDS=$(SECONDS) FUZZ_SEED=$(SEED) OMP_NUM_THREADS=$(THREADS) $(BIN)/pytest tests/fuzz -n $(WORKERS) --maxprocesses 8 -rP

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_architecture.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install
	$(BIN)/python -m reprise.cli.reference > docs/cli.md
	$(BIN)/python scripts/api_page.py
	$(BIN)/python scripts/module_map.py

# the documentation as a web site in build/site, with its notebooks executed; a finished notebook is kept until it changes
site: install
	$(BIN)/python scripts/build_site.py

# tests of the core with the oldest libraries that pyproject.toml admits, resolved by uv (on the path). torch stays at the
# pinned version, because older builds without CUDA cannot be had everywhere.
lowest: build/lowest/.installed
	OMP_NUM_THREADS=$(THREADS) build/lowest/bin/python -m pytest -n $(WORKERS) --maxprocesses 8 -W ignore \
		tests/data tests/evaluation tests/recommender tests/cli tests/model_store

build/lowest/.installed: pyproject.toml constraints.txt
	@mkdir -p build
	grep '^torch==' constraints.txt > build/torch.txt
	uv pip compile --quiet --no-header --no-annotate --resolution lowest-direct --override build/torch.txt \
		--extra train pyproject.toml | grep -vE '^(nvidia|cuda|triton|torch|setuptools)' > build/lowest.txt
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet -r build/torch.txt
	build/lowest/bin/python -m pip install --quiet -r build/lowest.txt $(LOWEST_TESTS)
	build/lowest/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

# train and compare every family on three logs of a folder; finished runs are kept
benchmark: install
	@test -d "$(LOGS)" || { echo "give the folder of the logs: make benchmark LOGS=folder"; exit 1; }
	$(BIN)/python benchmarks/families.py $(LOGS) --results docs/results.md

clean:
	rm -rf $(VENV) build dist reprise-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
