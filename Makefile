# Everything a person or CI does with the project. `make` alone prints this list.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test check format bench chaos studio lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv lives in a folder of its own, so that nothing is installed into the system's Python.
UV := .uv/bin/uv
UV_VERSION := 0.13.8
# LangGraph Studio's dev server. Its licence (Elastic 2.0) does not let us ship it, so it is in no list of ours.
LANGGRAPH_CLI_VERSION := 0.4.40
LANGGRAPH_API_VERSION := 0.16.7
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
	$(BIN)/python -m bench.steps
	$(BIN)/python -m bench.recovery
	$(BIN)/python -m bench.checkpoints
	$(BIN)/python -m bench.fairness
	$(BIN)/python -m bench.tenants --tenants 200

chaos: install-dev ## Kill everything under load and count what was lost: nothing (SECONDS=60 SEED=1 ARGS=--redis-dead)
	$(BIN)/python -m bench.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(ARGS)

# It asks its makers for nothing: no usage report, no look for a newer version, no traces. `--allow-blocking`: our nodes
# read a prompt's file or build a model where a worker would, which its detector takes for an error.
studio: .uv/studio.txt ## Open the graphs in LangGraph Studio; its dev server is http://127.0.0.1:2024
	@LANGGRAPH_CLI_NO_ANALYTICS=1 LANGGRAPH_NO_VERSION_CHECK=1 LANGSMITH_TRACING=false \
	CHOWK_HOME=$${CHOWK_HOME:-.chowk} \
	exec $(UV) tool run --from 'langgraph-cli[inmem]==$(LANGGRAPH_CLI_VERSION)' \
	  --with langgraph-api==$(LANGGRAPH_API_VERSION) --with-requirements .uv/studio.txt \
	  --overrides .uv/studio-overrides.txt \
	  langgraph dev --host 127.0.0.1 --port 2024 --no-browser --no-reload --allow-blocking $(ARGS)

format: install-dev ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV) ## Resolve the dependencies anew
	$(UV) lock --upgrade

# The dev server runs in an environment of its own, with our locked versions but for one that it does not take yet. The
# other override is that of pyproject.toml, which uv does not read for a tool.
.uv/studio.txt: pyproject.toml uv.lock Makefile | $(UV)
	@printf '%s\n' "sentence-transformers ; python_version < '3'" 'structlog<26' > .uv/studio-overrides.txt
	@$(UV) export --quiet --frozen --extra embedded --no-dev --no-emit-project --no-hashes --output-file $@

clean: ## Remove the environment and the local data
	rm -rf $(VENV) .uv .chowk .langgraph_api

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
