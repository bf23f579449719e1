# `make run` and `make test` do everything on a fresh machine with Python 3.11 or 3.12.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN_FLAGS ?= --model=mc_dropout
# TensorFlow starts and traces on one core, so two files of tests at once take half the time.
TEST_WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
TORCH_PYTHON ?= $(BIN)/python

.PHONY: run test test-fast lint bench clean

run: $(VENV)/installed
	$(BIN)/python -m pipelines.run $(RUN_FLAGS)

test: $(VENV)/installed
	$(PYTEST) tests

test-fast: $(VENV)/installed
	$(PYTEST) tests -m 'not slow'

lint: $(VENV)/installed
	$(BIN)/ruff check .

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.input_pipeline
	$(BIN)/python -m benchmarks.projection
	$(BIN)/python -m benchmarks.measures
	$(BIN)/python -m benchmarks.train_step --torch_python=$(TORCH_PYTHON)
	$(BIN)/python -m benchmarks.predict --torch_python=$(TORCH_PYTHON)
	$(BIN)/python -m benchmarks.throughput

# The stamp is written last: an interrupted installation is simply done again.
$(VENV)/installed: setup.py constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and f"ceph_tf needs Python 3.11 or 3.12, not {sys.version.split()[0]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
