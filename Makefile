# Two commands do all the set-up: `make run` (the main job) and `make test` (what CI calls).
#   make run TARGET=dog SEED=1      forget another subgroup
#   make quick                      the tests that need neither data nor minutes
PYTHON ?= python3
TARGET ?= cat
SEED ?= 0
RECIPE ?= default
OUT ?= runs/quickstart
BIN := .venv/bin

.PHONY: run test quick results notebooks lock clean

run: .venv/installed
	$(BIN)/python -m forgetkit run --target "$(TARGET)" --seed "$(SEED)" --recipe "$(RECIPE)" --out "$(OUT)"

test: .venv/installed
	$(BIN)/python -m forgetkit fetch
	$(BIN)/python -m pytest tests

quick: .venv/installed
	$(BIN)/python -m pytest tests -m "not slow"

# The rows behind the README's table: six targets, three seeds (about half an hour on two cores; resumable).
results: .venv/installed
	$(BIN)/python -m forgetkit results --out docs/results/quickstart.csv

# Every notebook and its solutions, executed in place as they are committed.
notebooks: .venv/installed
	$(BIN)/python -m forgetkit notebooks

# The lock file, anew, after a change to pyproject.toml.
lock: .venv/installed
	$(BIN)/uv pip compile pyproject.toml --extra test --universal --generate-hashes --no-emit-index-url \
		--no-annotate --python-version 3.11 --upgrade -o requirements.lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv runs
