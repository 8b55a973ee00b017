# Every target makes the environment it needs. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[offline,dev]'
	touch $@

setup: $(VENV)/.ready  ## make the environment (about 6 GB, a few minutes)

demo: setup  ## raw videos to frame scores, on videos rendered here
	$(BIN)/vad demo

test: setup  ## the tests that need no special hardware
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: setup  ## every test
	$(BIN)/python -m pytest

check: setup  ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup  ## detection figures on the real data, written to bench/
	mkdir -p bench
	$(BIN)/python benchmarks/detect.py --data ped2 --seeds 3 --json bench/ped2.json
	$(BIN)/python benchmarks/detect.py --data fight --seeds 3 --json bench/fight.json

clean:  ## remove the environment and what the targets wrote
	rm -rf $(VENV) demo bench build *.egg-info src/*.egg-info
