# Everything a person or CI does with the project. `make` alone prints this list.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test check format bench chaos lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv lives in a folder of its own, so that nothing is installed into the system's Python.
UV := .uv/bin/uv
UV_VERSION := 0.13.8
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON := $(shell command -v $(PYTHON))
export UV_PYTHON_DOWNLOADS := never

help: ## Print what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: install ## Install everything and bring the whole product up on http://127.0.0.1:8000
	@exec $(BIN)/chowk dev $(ARGS)

test: install-dev ## Install everything and run the whole test suite, browser tests included
	@$(BIN)/python -m tests.browser
	$(BIN)/pytest $(ARGS)

check: install-dev ## Lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(UV) lock --check

bench: install-dev ## Measure the published figures; each prints one JSON object last
	$(BIN)/python -m bench.ingest
	$(BIN)/python -m bench.turn

chaos: install-dev ## Kill every process under load and count what was lost: nothing
	$(BIN)/python -m bench.chaos

format: install-dev ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV) ## Resolve the dependencies anew
	$(UV) lock --upgrade

clean: ## Remove the environment and the local data
	rm -rf $(VENV) .uv .chowk

install: $(VENV)/.run
install-dev: $(VENV)/.dev

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Chowk needs Python 3.11 or newer")'
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# `--no-dev` on a tree that already has the development tools would remove them: a second `make run` keeps them.
$(VENV)/.run: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --all-extras --no-dev --inexact
	@touch $@

$(VENV)/.dev: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --all-extras
	@touch $@ $(VENV)/.run
