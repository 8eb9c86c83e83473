# What one does with a clone: `make demo`, `make test`. Everything lives in .venv and var/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
NODE_PORT ?= 8001
CHAIN_PORT ?= 8545
PROVIDER_PORT ?= 8002
AQUARIUS_PORT ?= 8003
# Many tests wait for other processes: one worker more than there are cores keeps these busy.
TEST_WORKERS ?= $(shell expr `getconf _NPROCESSORS_ONLN` + 1)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint install install-dev clean-demo

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(VENV)/.installed ## Start sandbox, worker and web server, and say what to click (PORT=, NODE_PORT=, CHAIN_PORT=, …)
	@$(BIN)/python -m ocean_portal.demo --port $(PORT) --node-port $(NODE_PORT) --chain-port $(CHAIN_PORT) \
	    --provider-port $(PROVIDER_PORT) --aquarius-port $(AQUARIUS_PORT)

clean-demo: ## Forget the demo: its database, chain, jobs and secrets
	rm -rf var .env

test: $(VENV)/.installed-dev ## Run the tests: unit, contract, sandbox, browser, kill
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup

test-long: $(VENV)/.installed-dev ## Run the tests that take longer
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup -m long

lint: $(VENV)/.installed-dev ## Check form, types, templates and who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	git ls-files -z -- 'templates/*.html' | xargs -0 -r $(BIN)/djade --target-version 5.2 --check
	PORTAL_ENV_FILE=tests/portal.env $(BIN)/mypy
	PORTAL_ENV_FILE=tests/portal.env $(BIN)/lint-imports

install: $(VENV)/.installed ## Make the virtual environment for running
install-dev: $(VENV)/.installed-dev ## … and for developing

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ocean Portal needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.PHONY: bench
bench: $(VENV)/.installed-dev ## Measure the portal on this machine (about 12 minutes; let nothing else run)
	@$(BIN)/python -m tests.benchmarks.bench
