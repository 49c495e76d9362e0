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
	@echo "make bench   the benchmarks, in under half an hour, as one table; ARGS=NAME for one of them"
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

# All of them, in under half an hour; ARGS="decode --quick" for some, at tiny sizes. What is absent is told, no failure.
bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

store: $(STAMP)
	$(BIN)/python -m tests.support.object_store --dir .cache/object-store --bucket videos

clean:
	rm -rf .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
