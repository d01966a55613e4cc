# Two commands set everything up: `make demo` and `make test`. Both can be run again; existing environments are kept.

PYTHON ?= python3
BIN := .venv/bin
LABEL_STUDIO_VERSION := 1.23.2
LABEL_STUDIO_ML := $(shell sed -nE 's/^ *"(label-studio-ml @ .*)",$$/\1/p' pyproject.toml)
SOURCES := backend demo tests benchmarks demo_checkpoint

.DEFAULT_GOAL := help
.PHONY: help demo demo-up demo-down test test-label-studio-ml test-docker lint format demo-checkpoint demo-samples benchmarks programs check-python clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

demo: .venv/.installed .venv-label-studio/.installed ## Label Studio with this backend and clips to look at; stays until Ctrl-C
	@$(BIN)/python -m demo $(if $(DETACH),--detach) \
		$(if $(LABEL_STUDIO_PORT),--label-studio-port $(LABEL_STUDIO_PORT)) \
		$(if $(BACKEND_PORT),--backend-port $(BACKEND_PORT))

demo-up: ## the demo, left running in the background
	@$(MAKE) --no-print-directory demo DETACH=1

demo-down: ## stop the demo
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo down; else echo "No demo is running."; fi

test: .venv/.installed-dev .venv-label-studio/.installed programs lint ## linters, types and the whole suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile  # the small model gains nothing from more
	@if [ -e .venv-label-studio-ml/.installed ] || $(call reaches,$(LABEL_STUDIO_ML)); then \
		$(MAKE) --no-print-directory test-label-studio-ml; \
	else \
		echo "NOT RUN: the tests of the label-studio-ml adapter. That library is in git only, and its git host cannot be"; \
		echo "reached from here. Where it can be: make test-label-studio-ml"; \
	fi

test-label-studio-ml: .venv-label-studio-ml/.installed ## the adapter for label-studio-ml 2, which is installed from git
	OMP_NUM_THREADS=1 PYTHONPATH=.venv-label-studio-ml$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/pytest tests/service/test_label_studio_ml_adapter.py

test-docker: .venv/.installed-dev ## build and run the compose files: needs Docker, gigabytes, ten minutes
	$(BIN)/pytest tests/docker/check_compose.py

lint: .venv/.installed-dev ## ruff and mypy
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: .venv/.installed-dev ## let ruff fix and format the code
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

demo-checkpoint: .venv/.installed-dev ## train the bundled checkpoint again: about three hours on two cores
	$(BIN)/python demo_checkpoint/train.py

demo-samples: .venv/.installed-dev ## draw the bundled sample clips again
	$(BIN)/python demo_checkpoint/demo_samples.py

benchmarks: .venv/.installed-benchmarks ## the benchmarks of docs/measurements.md: some hours
	@set -e; for script in decode pipeline demo_checkpoint remap remap_figure long_videos grammar \
		confidence server; do \
		echo "== benchmarks/$$script.py"; $(BIN)/python benchmarks/$$script.py; done

clean: ## remove everything that these commands made, also the environments
	rm -rf .venv .venv-label-studio .venv-label-studio-ml demo-output benchmarks/output .pytest_cache .mypy_cache .ruff_cache .hypothesis

# ---- the environments -----------------------------------------------------------------------------------------------

# torch alone is some gigabytes with CUDA. Without a GPU, PIP_EXTRA_INDEX_URL and the like (pip reads its own
# environment variables) may point to smaller wheels.
.venv/bin/pip: | check-python
	@echo "Setting up .venv; the first time this downloads several gigabytes."
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install --editable '.[dev]'
	@touch $@

.venv/.installed-benchmarks: .venv/.installed
	$(BIN)/pip install --editable '.[benchmark]'
	@touch $@

.venv-label-studio/.installed: Makefile | check-python
	@echo "Setting up .venv-label-studio with Label Studio $(LABEL_STUDIO_VERSION): about 1 GB."
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/pip install label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@

# A folder beside .venv, so that neither changes the other. Without its dependencies: they name the main branch of
# label-studio-sdk, of which .venv has a release.
.venv-label-studio-ml/.installed: pyproject.toml | .venv/.installed-dev
	$(BIN)/pip install --no-deps --upgrade --target .venv-label-studio-ml '$(LABEL_STUDIO_ML)' 'colorama~=0.4' 'semver~=3.0'
	@touch $@

# Whether the git repository of a requirement "name @ git+URL@commit" answers.
reaches = GIT_TERMINAL_PROMPT=0 timeout 30 git ls-remote "$$(echo '$(1)' | sed -E 's/.*git\+(.*)@.*/\1/')" HEAD >/dev/null 2>&1

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "omni-timeline needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make PYTHON=python3.12"; exit 1; }

# The tests write odd videos with ffmpeg and look at Label Studio in a browser. Nothing else needs these programs.
programs:
	@missing=; for program in ffmpeg chromium; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
			ffmpeg chromium fonts-dejavu-core; \
	else \
		echo "The tests need$$missing. On Debian: sudo apt-get install ffmpeg chromium fonts-dejavu-core"; exit 1; \
	fi
