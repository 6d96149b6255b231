.DEFAULT_GOAL := help
.PHONY: help setup run demo pictures check test test-running test-parts unit integration fault drill mutants bench lock map samples clean
PYTHON ?= python3
BIN := .venv/bin

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# The environment is made anew only when a lock file has changed.
.venv/made: requirements.lock requirements-local.lock requirements-dev.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements-dev.lock
	touch .venv/made

# What pages load is made anew when its sources or the lock of its packages have changed. The
# packages are removed again: they are large, and hold Python that is not ours to check.
PAGES := $(addprefix deploy/pages/,package.json package-lock.json build.js pages.scss pages.js icon.svg)
hosting/built/pages.css: $(PAGES) | .venv/made
	cd deploy/pages && PATH="$(abspath $(BIN)):$$PATH" && \
		npm ci --loglevel=error && npm run --silent build && rm -rf node_modules

setup: .venv/made hosting/built/pages.css ## make the environment in .venv

run: setup ## start everything on this machine, with a demo
	@exec $(BIN)/python -m deploy.local

demo: setup ## send more discharges to the running system, at a pace one can watch
	@$(BIN)/python -m deploy.local.demo

pictures: setup ## take the pictures of the documents from the running demo (needs chromium)
	@$(BIN)/python -m deploy.local.pictures

check: setup ## formatting, lint, types, import rules, architecture (seconds)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/architecture

# What waits for a running system goes beside what computes; each half starts engines of its own, on
# ports of its own.
test: check ## every test
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-running test-parts

test-running:
	WARM_HANDOFF_PORTS=20000-25999 $(BIN)/python -m pytest tests/integration tests/fault

test-parts:
	WARM_HANDOFF_PORTS=26000-31999 $(BIN)/python -m pytest tests/component tests/contract tests/unit tests/browser

unit: setup ## tests that need no engine
	$(BIN)/python -m pytest tests/unit tests/contract tests/architecture

integration: setup ## tests on the real engines
	$(BIN)/python -m pytest tests/integration tests/component

fault: setup ## harm of every kind, the least tried first, for WARM_HANDOFF_MINUTES (60)
	$(BIN)/python -m tests.fault.campaign

drill: setup ## every disaster of the runbook, mended by its steps (minutes)
	$(BIN)/python -m tests.fault.drills

mutants: setup ## plant a bug at a time, and see that the tests find it
	$(BIN)/python -m tests.fault.mutants

bench: setup ## figures, as ratios within one run
	$(BIN)/python -m bench

map: setup ## write the generated event map into ARCHITECTURE.md
	$(BIN)/python -m services.event_map ARCHITECTURE.md

samples: setup ## record samples and shapes of new events
	$(BIN)/python -m tests.contract.record

lock: ## resolve the lock files anew (names, versions and hashes only)
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet pip-tools==7.6.2
	.venv-lock/bin/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-header --no-annotate --output-file requirements.lock pyproject.toml
	.venv-lock/bin/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-header --no-annotate --extra local \
		--output-file requirements-local.lock pyproject.toml
	.venv-lock/bin/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-header --no-annotate --extra local --extra development \
		--output-file requirements-dev.lock pyproject.toml
	rm -rf .venv-lock

clean: ## remove the environment and this machine's data
	rm -rf .venv var hosting/built
