# Two commands for a stranger: `make demo` and `make test`. Everything they need is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test coverage test-long lint format

demo: .venv/installed
	$(BIN)/ussd-app demo --country $(or $(COUNTRY),GH)

test: .venv/installed
	$(BIN)/pytest -n 2 -m "not long"

coverage: .venv/installed
	$(BIN)/pytest -n 2 -m "not long" --cov --cov-report term:skip-covered

# `make test-long WORLDS=10000` plays that many simulated worlds in place of five hundred, for a night.
test-long: .venv/installed
	$(BIN)/pytest -n 2 -m long

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
