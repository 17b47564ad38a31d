# The environment is .venv at the repository's root; both commands share it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint requirements.lock
SPEC ?= attention_digits
BACKEND ?= torch

.PHONY: run test exhaustive check browser generated clean

run: $(VENV)/torch.installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/ranspec train $(SPEC) --backend $(BACKEND)

test:
	$(MAKE) --jobs 2 check browser
	$(BIN)/python -m compileall -q ranspec backends
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 15

exhaustive: $(VENV)/all.installed
	EXHAUSTIVE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 3600 tests/specs tests/backends/test_onnx.py tests/studies/test_training.py

check: $(VENV)/all.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# For the tests of pages, which are skipped where there is none and none can be installed.
browser:
	@for name in chromium chromium-browser google-chrome; do \
	    command -v $$name > /dev/null && exit; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq --no-install-recommends chromium > /dev/null; \
	fi || echo "no browser could be installed"

generated: $(VENV)/torch.installed
	$(BIN)/python -m tests.generated

clean:
	rm -rf $(VENV) runs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/torch.installed: $(VENV)/bin/python pyproject.toml requirements.lock
	$(PIP) --editable ".[torch]"
	touch $@

$(VENV)/all.installed: $(VENV)/bin/python pyproject.toml requirements.lock
	$(PIP) tensorflow-cpu --editable ".[torch,jax,dev]"
	touch $@
