# Needs only make and Python 3.11 to 3.13. Everything installs itself into .venv on first use.
#
#   make demo       train, upload, deploy, predict, canary, promote, roll back: on the local Vertex AI
#   make test       the tests, but the slow ones
#   make help       the rest

# The interpreter for .venv; the first suitable one is taken when this is empty.
PYTHON ?=
# Arguments for make demo, make test and make bench.
ARGS ?=
# How many processes run the tests: each has a local Vertex AI of its own, and wants 4 GB. 0: none but pytest's.
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all bench lint format types clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Install everything into .venv

demo: $(STAMP) ## Run examples/quickstart.py (ARGS="--project P --bucket B" for Google Cloud)
	@$(BIN)/python examples/quickstart.py $(ARGS)

test: $(STAMP) ## Run the tests, but the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ARGS)

test-all: $(STAMP) ## Run all the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

bench: $(STAMP) ## Measure against what one would otherwise do
	$(BIN)/python -m tests.bench $(ARGS)

lint: $(STAMP) ## Check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(STAMP) ## Write the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP) ## Check types
	$(BIN)/mypy
	$(BIN)/mypy examples tests/typing .ci/missing.py

clean: ## Remove what was built and cached; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# pip runs only when something is missing: a change of pyproject.toml is mostly one of a tool's settings.
$(STAMP): pyproject.toml .ci/missing.py | $(BIN)/python
	@$(BIN)/python .ci/missing.py >/dev/null || { \
	    echo "Installing into $(VENV): TensorFlow is large, so this takes some minutes."; \
	    $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade >/dev/null; \
	    $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --upgrade 'pip>=25.1' && \
	    $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input \
	        --editable '.[pandas,plot]' --group dev && \
	    $(BIN)/python .ci/missing.py; }
	@touch $@

$(BIN)/python:
	@for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	        >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	echo "Creating $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
