# Every target makes .venv and installs the pinned packages when they are missing or have changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo
ARGS ?=

.PHONY: help install demo test check format bench store clean

help:
	@echo "make demo    the whole way on a generated corpus, into $(OUT)/; with ARGS=--full all four stages"
	@echo "make test    the test suite (no GPU, no network)"
	@echo "make check   formatter, linter, types, import contracts"
	@echo "make bench   the benchmarks"
	@echo "make store   an S3 object store on this machine, for trying s3:// paths"
	@echo "make format  rewrite the sources as the formatter wants them"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "vidloom needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "== making $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== installing vidloom and its pinned packages into $(VENV) (once; a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "== installed"

demo: $(STAMP)
	$(BIN)/vidloom demo --out $(OUT) $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Status 2: what a benchmark compares with is not here; it says so.
bench: $(STAMP)
	@for file in benchmarks/[a-z]*.py; do name=benchmarks.$$(basename $$file .py); \
	  echo "== python -m $$name $(ARGS)"; $(BIN)/python -m $$name $(ARGS) || [ $$? -eq 2 ] || exit 1; done

store: $(STAMP)
	$(BIN)/python -m tests.support.object_store --dir .cache/object-store --bucket videos

clean:
	rm -rf .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
