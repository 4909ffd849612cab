# `make demo` and `make test` do everything on a fresh machine; nothing is installed by hand.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint tests test-slow api format clean

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py

test: lint tests

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tests: .venv/test.stamp
	$(BIN)/python -m pytest -n auto

test-slow: .venv/test.stamp
	$(BIN)/python -m pytest -m slow

format: .venv/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

api: .venv/test.stamp
	$(BIN)/python docs/make_api.py

clean:
	rm -rf .venv demo_output build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv (about a minute) ..."
	$(INSTALL) -e ".[plot,progress]"
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv (about a minute) ..."
	$(INSTALL) -e ".[plot,progress,transformers,test]"
	@touch $@
