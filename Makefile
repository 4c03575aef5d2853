# Everything that a newcomer or CI runs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Tests at a time, twice as many as two cores: many wait for processes. Those of one file come one after the other.
JOBS ?= 4
FUZZ_SECONDS ?= 60
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-all check format proto bench fuzz two-networks clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --group demo \
		--editable ".[edge,cloud,backtest]"
	touch $(STAMP)

install: $(STAMP)  ## create .venv with everything, from pinned constraints

demo: install  ## run the whole loop on this machine; ARGS="--help" lists the options
	$(BIN)/python -m demo $(ARGS)

test: install  ## run the tests that need no more than minutes
	$(PYTEST) -m "not slow" $(ARGS)

test-all: install  ## run every test; the first time llama.cpp is built from source for one of them
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group servers
	$(PYTEST) $(ARGS)

check: install  ## lint, types, import contracts, generated stubs fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/contracts/test_generated_code.py

format: install  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: install  ## generate router/v1 from proto/router/v1
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. --mypy_out=quiet:. \
		--mypy_grpc_out=quiet:. --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc proto/router/v1/*.proto

bench: install  ## run every benchmark; each ends in one line of JSON
	@for file in bench/[!_]*.py; do echo "== $$file"; PYTHONPATH=. $(BIN)/python $$file || exit 1; done

fuzz: install  ## fuzz what reads bytes from outside, FUZZ_SECONDS each (60); each ends in one line of JSON
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group fuzz || true
	@for name in $$($(BIN)/python tests/fuzz/guided.py --list); do \
		$(BIN)/python tests/fuzz/guided.py $$name --seconds $(FUZZ_SECONDS) || exit 1; done

two-networks: install  ## as root: the demo in two network namespaces, with certificates; beside it on loopback
	PYTHONPATH=. $(BIN)/python bench/two_networks.py $(ARGS)

clean:  ## remove what was built and what demos left
	rm -rf $(VENV) build dist runs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
