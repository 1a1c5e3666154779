# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp

.PHONY: install demo test test-long lint check format bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/privity demo

test: install
	$(BIN)/pytest -m 'not long'

test-long: install
	$(BIN)/pytest -m long

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	PYTHONPATH=. $(BIN)/python benchmarks/engines.py
	PYTHONPATH=. $(BIN)/python benchmarks/newton.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
