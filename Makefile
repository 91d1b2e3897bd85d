PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
comma := ,

.PHONY: setup test test-parity lint demo clean

# One stamp per choice of extras, so that asking for others installs them.
INSTALLED := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m tools.virtual_environment $(VENV)
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/parity

# Comparisons with PyTorch, a large download.
test-parity:
	$(MAKE) setup EXTRAS=dev,parity
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/parity

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: setup
	$(BIN)/python -m tools.demo

clean:
	rm -rf demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
