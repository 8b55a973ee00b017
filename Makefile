# Every target makes the environment it needs. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICK := $(addprefix tests/test_,architecture.py config.py grid.py store.py labels.py split.py \
	metrics.py events.py detector_golden.py recipes.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo docs gallery test-quick test test-all lock sbom fuzz check bench gpu clean

help:  ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml
	@echo "installing vad, torch and other libraries into $(VENV): 7.5 GB, some minutes without output"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[offline]'
	touch $@

$(VENV)/.dev: $(VENV)/.ready
	@echo "installing what tests and checks need into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[offline,dev]'
	touch $@

setup: $(VENV)/.dev  ## make the environment of developers (7.5 GB, some minutes)

demo: $(VENV)/.ready  ## raw videos to frame scores, on videos rendered here
	$(BIN)/vad demo

docs: setup  ## the site of the documents, into build/site: open its index.html
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

gallery: setup  ## the pictures of docs/gallery.md, made of demo/ in Chromium
	test -d demo || $(BIN)/vad demo
	$(BIN)/python docs/site/gallery.py demo docs/pictures/gallery

test-quick: setup  ## the tests of the rules that everything hangs on, in under a minute
	$(BIN)/python -m pytest -m "not slow and not gpu" $(QUICK)

test: setup  ## the tests that need no special hardware, in about ten minutes on two cores
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=25 -m "not slow and not gpu"

test-all: setup  ## every test; VAD_REQUIRE_GPU=1 makes those fail that find no GPU
	$(BIN)/python -m pytest

LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --generate-hashes --no-header --no-annotate \
	--extra offline --extra ray --extra watch --constraint docker/constraints.txt \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
TORCH = ^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==
OTHERS = sed -E 's/(.*)==/--no-emit-package \1/'

lock: setup  ## docker/lock*.txt: what the images install, with checksums
	mkdir -p build
	$(LOCK) -o build/lock.txt
	$(LOCK) -o docker/lock.txt $$(grep -oE '$(TORCH)' build/lock.txt | $(OTHERS))
	$(LOCK) -o docker/lock-torch.txt $$(grep -oE '^[a-z][^=]*==' docker/lock.txt | $(OTHERS))

sbom: setup  ## what is in the environment and in the image, as CycloneDX: build/sbom*.json
	mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --of JSON -o build/sbom.json $(BIN)/python
	cat docker/lock.txt docker/lock-torch.txt | $(BIN)/cyclonedx-py requirements \
		--pyproject pyproject.toml --of JSON -o build/sbom-image.json -

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
