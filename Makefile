# make reproduce    set up and run the whole demo: every table and figure
# make test         set up and run the tests
# make paper-tiny   the paper profile on tiny sets: published size, two steps a stage (minutes)
# make provenance   Snakemake and DVC on small projects: every trap, kills, two users (some twenty minutes)
# make readme       the numbers of README.md from results/demo
# make bench        the quantiser's speed and memory on this machine (some ten minutes, 6 GiB)
# make lint         style and types

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= demo
CORES ?= all
# One stamp a lock file: a changed lock makes a new environment, an unchanged one is left alone.
READY := $(VENV)/.ready-$(firstword $(shell sha256sum requirements.lock pyproject.toml | sha256sum))

.PHONY: reproduce smoke test paper-tiny provenance readme bench lint environment
.DELETE_ON_ERROR:

reproduce: $(READY)
	$(BIN)/snakemake --cores $(CORES) all --config profile=$(PROFILE)

smoke:
	$(MAKE) reproduce PROFILE=smoke

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

paper-tiny: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/paper_tiny.py

provenance: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m provenance tests/provenance

readme: $(READY)
	$(BIN)/python -m stscq.report.readme results/demo/tables README.md

bench: $(READY)
	$(BIN)/python -m benchmarks.quantization --out benchmarks/results
	$(BIN)/python -m benchmarks.codec --out benchmarks/results
	$(BIN)/python -m benchmarks.training --out benchmarks/results

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

environment: $(READY)

# --no-deps: the lock is complete. It holds opencv-python-headless where insightface asks for opencv-python, which would
# need a system's OpenGL.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed (the lock file is for it); make PYTHON=/path/to/python3.11"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
