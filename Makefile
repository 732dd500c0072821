# `make demo` and `make test` are all a fresh machine needs: each makes .venv and installs into it first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: demo test check bench install clean

demo: $(READY)               ## Run the quickstart chain: base -> SFT -> DPO / KTO -> RLVR, with one table at the end.
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash recipes/quickstart/chain.sh

test: $(READY)               ## Everything: format, lint, types, all tests.
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

check: $(READY)              ## The fast part.
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

.PHONY: lint
lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)              ## The benchmarks that need no outside data, small, with one summary: runs/bench/summary.md.
	$(BIN)/python tests/benchmarks/bench.py $(BENCH)

install: $(READY)

# Torch first and by itself: its CPU build is pinned in constraints.txt, and what is installed is kept.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) runs build dist
