# Every target makes the environment it needs. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICK := $(addprefix tests/test_,architecture.py config.py grid.py store.py labels.py split.py \
	metrics.py events.py detector_golden.py recipes.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test-quick test test-all fuzz check bench gpu clean

help:  ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[offline,dev]'
	touch $@

setup: $(VENV)/.ready  ## make the environment (about 6 GB, a few minutes)

demo: setup  ## raw videos to frame scores, on videos rendered here
	$(BIN)/vad demo

docs: setup  ## the site of the documents, into build/site: open its index.html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test-quick: setup  ## the tests of the rules that everything hangs on, in under a minute
	$(BIN)/python -m pytest -m "not slow and not gpu" $(QUICK)

test: setup  ## the tests that need no special hardware, in ten minutes on two cores
	$(BIN)/python -m pytest -n auto --durations=25 -m "not slow and not gpu"

test-all: setup  ## every test; VAD_REQUIRE_GPU=1 makes those fail that find no GPU
	$(BIN)/python -m pytest

fuzz: setup  ## mutated real videos for MINUTES=10, each stored or listed with a reason
	$(BIN)/python benchmarks/fuzz.py --minutes $(or $(MINUTES),10)

check: setup  ## style, types, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: setup  ## the README's figures, written to bench/
	mkdir -p bench
	$(BIN)/python benchmarks/detect.py --data ped2 --seeds 3 --json bench/ped2.json
	$(BIN)/python benchmarks/detect.py --data fight --seeds 3 --json bench/fight.json
	$(BIN)/python benchmarks/extract.py --json bench/extract.json
	$(BIN)/python benchmarks/train.py --json bench/train.json

gpu: setup  ## everything that runs on a GPU, proven and measured in seven minutes: gpu.json
	$(BIN)/python benchmarks/gpu.py --json gpu.json

clean:  ## remove the environment and what the targets wrote
	rm -rf $(VENV) demo bench build *.egg-info src/*.egg-info
