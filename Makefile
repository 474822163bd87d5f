# Set-up and everyday work. `make app` and `make test` do all that is needed on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := sge_viz app.py tests benchmarks

help: ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

app: .venv/app.stamp ## Install what the page needs, then open it on http://127.0.0.1:7860
	$(BIN)/python app.py

test: .venv/test.stamp ## Install everything, then run every test, those in the browser last
	tools/chromium.sh
	$(BIN)/python -m pytest

check: .venv/test.stamp ## Lint, formatting and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@rm -f sge_viz/ui/*.pyi  # stubs that Gradio writes at import, and does not keep up to date
	$(BIN)/mypy

format: .venv/test.stamp ## Put the code into its form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: .venv/test.stamp ## Print the speed ratios of every benchmark
	@set -e; for file in benchmarks/[a-z]*.py; do \
	  echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py); done

clean: ## Remove the environment and what tools left behind
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

.venv/app.stamp: requirements.txt
	PYTHON=$(PYTHON) tools/environment.sh requirements.txt
	@touch $@

.venv/test.stamp: requirements-dev.txt requirements.txt
	PYTHON=$(PYTHON) tools/environment.sh requirements-dev.txt
	@touch $@ .venv/app.stamp

.PHONY: help app test check format bench clean
