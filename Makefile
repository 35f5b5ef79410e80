# Two commands do all the set-up: `make run` (the main job) and `make test` (what CI calls).
#   make run TARGET=dog SEED=1                  forget another subgroup
#   make run KIND=style TARGET="cat sketches"   of another kind (notebook 01)
#   make quick                                  the tests that need neither data nor minutes
PYTHON ?= python3
KIND ?= class
TARGET ?= cat
SEED ?= 0
RECIPE ?= default
BIN := .venv/bin
# Bytecode is kept, whatever the environment says: the tests start dozens of processes that import torch.
PYTEST = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="$(CURDIR)/.venv/pycache" $(BIN)/python -m pytest tests
# In two processes, each with half of the cores (tests/conftest.py); one that has nothing left takes from the other.
TWO = -n 2 --dist worksteal --durations 12

.PHONY: run test quick coverage book results results-all gpu notebooks lock clean

run: .venv/installed
	$(BIN)/forgetkit run --kind "$(KIND)" --target "$(TARGET)" --seed "$(SEED)" --recipe "$(RECIPE)" $(if $(OUT),--out "$(OUT)")

test: .venv/installed
	$(BIN)/forgetkit fetch
	$(PYTEST) $(TWO)

quick: .venv/installed
	$(PYTEST) $(TWO) -m "not slow"

# The same, and which lines of the package they run; it takes up to twice as long.
coverage: .venv/installed
	$(PYTEST) $(TWO) -m "not slow" --cov

# README, docs and lessons as one site, build/book/index.html; nothing is executed, and a warning is an error.
book: .venv/installed
	$(BIN)/python -m sphinx -qW --keep-going -c docs/book . build/book

# Every row, table and figure that the pages need, anew where it lacks or is stale; resumable (docs/development.md has the minutes).
results: .venv/installed
	$(BIN)/python -m benchmarks.results
	$(BIN)/python -m benchmarks.bridge
	$(BIN)/python -m benchmarks.tables

# What lies beyond, too: more subgroups and seeds, the search of settings, mini-CLIP's accuracy: a night; resumable.
results-all: .venv/installed
	$(BIN)/python -m benchmarks.pretraining.accuracy
	$(BIN)/python -m benchmarks.benchmark
	$(BIN)/python -m benchmarks.families
	$(BIN)/python -m benchmarks.results --all
	$(BIN)/python -m benchmarks.small
	$(BIN)/python -m benchmarks.bridge
	$(BIN)/python -m benchmarks.tables

# What a GPU makes of the quickstart, of `forgetkit run` and of as much of the results as fits in ten minutes.
gpu: .venv/installed
	$(BIN)/python -m benchmarks.gpu $(if $(DEVICE),--device $(DEVICE)) $(if $(SMALL),--small)

# Every notebook and its solutions, executed in place as they are committed.
notebooks: .venv/installed
	$(BIN)/python -m benchmarks.notebooks

# The lock file, anew, after a change to pyproject.toml.
lock: .venv/installed
	$(BIN)/uv pip compile pyproject.toml --extra test --extra book --universal --generate-hashes --no-emit-index-url \
		--no-annotate --python-version 3.11 --upgrade -o requirements.lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv runs notebooks/runs
