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
	$(BIN)/pytest -m 'not long' -n auto --dist loadfile

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

# All works against all systems takes ten minutes; WORK and AGAINST choose some of each.
bench: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks $(if $(WORK),--work $(WORK)) $(if $(AGAINST),--against $(AGAINST))

$(VENV)/.stamp-bench: $(STAMP)
	PIP_CONSTRAINT= $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) benchmarks/.spu .mypy_cache .ruff_cache .pytest_cache
