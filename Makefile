# Two commands do all the set-up: `make demo` and `make test`. Both make .venv first where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
OPENCLIP := .venv-openclip
TRACKERS := .venv-trackers

.PHONY: setup demo test test-openclip test-trackers lint types benchmark docs chromium clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/surefoot compare
	@echo "Open runs/demo/report.html in a browser."

test: $(READY) lint types
	$(BIN)/python -m pytest -n 2 --dist worksteal

# open_clip needs torchvision, which must not meet the main environment: its tests have one of their own.
$(OPENCLIP)/ready: pyproject.toml constraints.txt constraints-openclip.txt
	$(PYTHON) -m venv $(OPENCLIP)
	$(OPENCLIP)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(OPENCLIP)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . pytest pytest-xdist
	$(OPENCLIP)/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-openclip.txt
	touch $(OPENCLIP)/ready

test-openclip: $(OPENCLIP)/ready
	$(OPENCLIP)/bin/python -m pytest -n 2 --dist worksteal tests/openclip

# Trackers bring many packages that nothing else needs: their tests have an environment of their own too.
$(TRACKERS)/ready: pyproject.toml constraints.txt constraints-trackers.txt
	$(PYTHON) -m venv $(TRACKERS)
	$(TRACKERS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(TRACKERS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . pytest pytest-xdist
	$(TRACKERS)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r constraints-trackers.txt
	touch $(TRACKERS)/ready

test-trackers: $(TRACKERS)/ready
	$(TRACKERS)/bin/python -m pytest -n 2 --dist worksteal tests/trackers

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

benchmark: $(READY)
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/corruptions.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/step_cost.py
	$(BIN)/python benchmarks/plain.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/zero_shot_head.py
	$(BIN)/python benchmarks/demo.py --whole

docs: $(READY)  # checks the pages: options, links, examples
	$(BIN)/python -m pytest tests/test_docs.py tests/test_readme.py

# The browser that opens the report page in the tests; without it that test is skipped and says so.
chromium:
	command -v chromium || (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium)

clean:
	rm -rf $(VENV) $(OPENCLIP) $(TRACKERS) .mypy_cache .ruff_cache .pytest_cache
