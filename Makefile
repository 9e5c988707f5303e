# make reproduce    set up and run the whole demo: every table and figure
# make lfw          set up, download LFW and run it: the paper's benchmark at 64 x 64 pixels (hours on 2 cores)
# make test         set up and run the tests
# make paper-tiny   the profiles paper and lfw on tiny sets: published size, two steps a stage (minutes)
# make provenance   Snakemake and DVC on small projects: every trap, kills, two users (some twenty minutes)
# make slurm        a small project through a SLURM on this machine; as root, installs it from Debian's packages (minutes)
# make readme       the numbers of README.md from results/
# make bench        speed and memory of quantiser, codec and training on this machine (some ten minutes, 6 GiB)
# make lint         style, types, and which room imports which
# make environment  only set up; TORCH=cpu, cuda or cuda12 picks the build of torch (docs/install.md)
# make lock         the locks in requirements/ from pyproject.toml; UPGRADE=1 takes the newest versions

VENV := .venv
BIN := $(VENV)/bin
PROFILE ?= demo
CORES ?= all
# cpu, cuda or cuda12; if empty, what .venv has, or else what this machine can run.
TORCH ?=
# The interpreter of .venv is PYTHON, or the one that made it, or the first that is there and works (a pyenv shim may not).
CANDIDATES := "$$(sed -n 's/^executable = //p' $(VENV)/pyvenv.cfg 2>/dev/null)" python3.11 python3.12 python3.13 python3
WORKS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
FOUND := $(shell for p in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
  "$$p" -c '$(WORKS)' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: reproduce lfw smoke test paper-tiny provenance slurm readme bench lint lock environment
.DELETE_ON_ERROR:

reproduce: environment
	$(BIN)/snakemake --cores $(CORES) all --config profile=$(PROFILE)

lfw: environment
	$(BIN)/stscq fetch lfw
	$(MAKE) reproduce PROFILE=lfw

smoke:
	$(MAKE) reproduce PROFILE=smoke

test: environment
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

paper-tiny: environment
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/paper_tiny.py tests/lfw_tiny.py

provenance: environment
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m provenance tests/provenance

slurm: environment
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[cluster]"
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slurm tests/cluster

readme: environment
	$(BIN)/python -m stscq.report.readme README.md

bench: environment
	$(BIN)/python -m benchmarks.quantization --out benchmarks/results
	$(BIN)/python -m benchmarks.codec --out benchmarks/results
	$(BIN)/python -m benchmarks.training --out benchmarks/results

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: environment
	$(BIN)/python requirements/lock.py $(if $(UPGRADE),--upgrade)

# A changed lock, word or Python makes a new .venv; else it is left alone.
environment:
	@test -n '$(FOUND)' || { \
	  echo "$(or $(PYTHON),stscq): Python 3.11, 3.12 or 3.13 is needed, with venv."; \
	  echo "Debian, Ubuntu: sudo apt install python3-venv (Ubuntu 22.04: python3.11-venv). Fedora: sudo dnf install python3.13."; \
	  echo "Without root: uv python install 3.13, then make PYTHON=\"\$$(uv python find 3.13)\""; exit 2; } >&2
	@'$(FOUND)' requirements/install.py $(TORCH)
