# Two commands for users, the rest for developers. Everything runs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: quickstart test test-slow test-newest check fix clean

quickstart: $(VENV)/.installed  ## index the Python standard library and retrieve in all five scenarios
	$(BIN)/rag-embedder quickstart

test: $(VENV)/.installed-dev  ## the fast tests, offline, without a GPU
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev  ## the long ones too: 100 rounds of kill -9
	$(BIN)/python -m pytest -m slow

test-newest:  ## the adapters on the newest LangChain, in an environment of its own
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# Without their dependencies: one that an index lacks would make pip take an older LangChain, and say nothing.
	.venv-newest/bin/python -m pip install --quiet --upgrade --no-deps langchain langchain-core
	.venv-newest/bin/python -m pytest tests/integrations

check: $(VENV)/.installed-dev  ## everything CI checks besides the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

fix: $(VENV)/.installed-dev  ## format, and repair what can be repaired safely
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) quickstart-data

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# pip is told to install once per change of the dependencies, not once per run.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (once, about two minutes) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing test requirements into $(VENV) (once, about three minutes) ..."
	@$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.installed
