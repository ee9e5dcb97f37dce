# Two commands are all: `make demo` shows it, `make test` proves it. Both set up what they need.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench clients clean

PYTHON ?= python3
export UV_PROJECT_ENVIRONMENT := .venv
UV := .venv/bin/uv
RUN := .venv/bin/

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make .venv with everything in it (needs only python3 with venv)

# uv lives in the environment it fills; --inexact keeps it there.
.venv/.ready: pyproject.toml uv.lock
	@test -x $(UV) || { $(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	$(UV) sync --quiet --inexact --locked --all-extras
	@touch $@

demo: setup ## Start a server in a temporary folder and watch a real model answer deferred requests
	$(RUN)raincheck demo

test: setup ## Run all tests
	$(RUN)pytest $(ARGS)

check: setup ## Format, lint, strict types, import floors, tests, a fuzz of the HTTP API against its own document
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)pyright
	$(RUN)lint-imports
	$(RUN)pytest
	$(RUN)python -m tests.fuzz

bench: setup ## Measure each speed goal against its baseline in the same run
	$(RUN)python -m bench $(ARGS)

clients: setup ## Try every version of every client from the package indexes against fresh servers, and write down how it went
	$(RUN)python -m tests.clients

clean: ## Remove what the other targets made
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis bench/results
