# Two commands matter on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3; do command -v $$p && break; done)
# Compiled code is kept: else each of the many processes of a test compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
BIN := $(VENV)/bin
# Many tests wait for brokers and cameras: four share two cores well.
JOBS ?= 4
MINUTES ?= 10
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check bench results peers models docs format wheel test-tflite test-python clean chaos soak arm64

include packaging/package.mk

help:  ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@echo "Making a virtual environment in $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.agent: $(BIN)/python packaging/locks/agent.txt pyproject.toml
	@echo "Installing the agent and its runtimes (locked)"
	@$(PIP_INSTALL) --require-hashes -r packaging/locks/agent.txt
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.agent packaging/locks/dev.txt
	@echo "Installing the tools for tests and checks (locked)"
	@$(PIP_INSTALL) --require-hashes -r packaging/locks/dev.txt
	@touch $@

demo: $(VENV)/.agent  ## see the agent do its job, in about a minute; ends with a page
	@$(BIN)/edgeagent demo --dir demo

test: $(VENV)/.dev  ## all tests, faults reduced
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/.dev  ## style, types, layers
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: $(VENV)/.dev  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## speed, memory and bytes beside the bare runtime, in one run of 4 minutes
	$(BIN)/python benchmarks/run.py

results: $(VENV)/.dev  ## the same in its whole form, below 10 minutes, written to docs/results.md
	$(BIN)/python benchmarks/run.py --full --out docs

peers: $(VENV)/.dev  ## other programs beside ours, added to docs/results.md: make peers VENVS=FOLDER
	$(BIN)/python benchmarks/run.py --peers --venvs $(or $(VENVS),.venv-peers) --out docs

docs: $(VENV)/.dev  ## reference pages and schemas from the code
	$(BIN)/python docs/generate.py

models:  ## train the shipped models again and compare with what is committed
	@test -x .venv-train/bin/python || $(PYTHON) -m venv .venv-train
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	for model in parts digits bearing; do .venv-train/bin/python models/train/$$model.py --check || exit 1; done

wheel: $(VENV)/.dev  ## the wheel, in dist/
	$(PIP_INSTALL) build
	$(BIN)/python -m build --wheel

# The table of published models holds LiteRT's kernels and OpenCV 5's oracles: not for here.
test-tflite:  ## the tests of models, with tflite-runtime in place of LiteRT
	$(MAKE) VENV=.venv-tflite LOCK=tflite one-lock
	.venv-tflite/bin/python -m pytest -n $(JOBS) tests/unit/infer tests/unit/prove tests/unit/interpret tests/unit/update tests/cases --ignore tests/unit/interpret/test_verified.py $(PYTEST_ARGS)

# What takes long and does not depend on the Python: one of them is enough.
ONCE := $(addprefix --ignore=tests/unit/,prove/test_pictures.py interpret/test_verified.py store/test_limits.py decide/test_track_scenes.py)

test-python:  ## the unit tests with another Python: make test-python PYTHON=python3.13
	$(MAKE) VENV=$(VENV) LOCK=dev one-lock
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/unit $(ONCE) $(PYTEST_ARGS)

one-lock: $(BIN)/python
	@test $(VENV)/.$(LOCK) -nt packaging/locks/$(LOCK).txt || { $(PIP_INSTALL) --require-hashes -r packaging/locks/$(LOCK).txt && $(PIP_INSTALL) --no-deps --editable . && touch $(VENV)/.$(LOCK); }

chaos: $(VENV)/.dev  ## kill, power-cut, chain, torture, rollout tests in full (hours)
	EDGEAGENT_TESTS=full $(BIN)/python -m pytest -n $(JOBS) tests/faults tests/e2e tests/unit/prove tests/unit/infer tests/unit/device

soak: $(VENV)/.dev  ## three pipelines with a fault each 2 minutes: what grows, what is missing (MINUTES=100)
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --out build/soak

clean:
	rm -rf $(VENV) .venv-* build dist demo *.egg-info
