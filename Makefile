PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
comma := ,
# What was installed last stays, also where it is more than is needed.
LAST := $(patsubst %-locked,%,$(patsubst $(VENV)/installed-%,%,$(firstword $(shell ls -t $(VENV)/installed-* 2>/dev/null))))
EXTRAS ?= $(if $(LAST),$(subst -,$(comma),$(LAST)),dev)

# dev and one more extra; all that are asked for, if both are among them.
has = $(filter $(1),$(subst $(comma), ,$(EXTRAS)))
with = $(if $(and $(call has,dev),$(call has,$(1))),$(EXTRAS),dev$(comma)$(1))

# With LOCKED=1, the versions in lock/ are installed, and pip refuses files that have other hashes.
LOCKED ?=
LOCK := lock/$(subst $(comma),-,$(EXTRAS)).txt
UV_VERSION := 0.13.9
PIP_AUDIT_VERSION := 2.10.1

.PHONY: setup browser test test-slow test-parity test-parity-slow test-export test-endurance lint demo lock audit clean

# One stamp per choice of extras, so that asking for others installs them.
INSTALLED := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))$(if $(LOCKED),-locked)

# Packages that were removed since are installed again.
setup: $(INSTALLED)
	@$(BIN)/python -m tools.setup.extras $(EXTRAS) || { rm $(INSTALLED) && $(MAKE) EXTRAS=$(EXTRAS) $(INSTALLED); }

# pip is quiet for minutes: this says what it does.
SAY_INSTALL = @echo "setup: downloads and installs TensorFlow and the packages for $(EXTRAS) into $(VENV); takes minutes"
SAY_BYTECODE = @echo "setup: compiles the installed modules, which makes the first start faster"
SAY_DONE = @echo "setup: done; activate it with: source $(VENV)/bin/activate"

# On all cores, which pip does on one. Some modules are for other versions of Python, and stay as they are.
BYTECODE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

ifdef LOCKED
# Nothing is built in an environment of its own, as the hashes of what would be there are not checked.
$(INSTALLED): pyproject.toml $(LOCK)
	@$(PYTHON) -m tools.setup.extras --named $(EXTRAS)
	$(PYTHON) -m tools.setup.virtual_environment $(VENV)
	$(SAY_INSTALL)
	$(BIN)/pip install --quiet --no-compile --no-deps --only-binary :all: --require-hashes --requirement $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(SAY_BYTECODE)
	$(BYTECODE)
	touch $@
	$(SAY_DONE)

ifeq ($(wildcard $(LOCK)),)
$(LOCK):
	@$(PYTHON) -m tools.setup.extras --named $(EXTRAS)
	@echo "setup: lock/ has no versions for EXTRAS=$(EXTRAS), only $(patsubst lock/%.txt,%,$(wildcard lock/*.txt)) (with - for a comma): give one of these, or drop LOCKED" >&2
	@exit 1
endif
else
$(INSTALLED): pyproject.toml
	@$(PYTHON) -m tools.setup.extras --named $(EXTRAS)
	$(PYTHON) -m tools.setup.virtual_environment $(VENV)
	$(SAY_INSTALL)
	$(BIN)/pip install --quiet --no-compile --editable '.[$(EXTRAS)]'
	$(SAY_BYTECODE)
	$(BYTECODE)
	touch $@
	$(SAY_DONE)
endif

# Chromium and its driver, from Debian's packages, for the tests of pages; they are skipped where it is missing, or fail
# if REQUIRE_BROWSER is set, as in CI. An installed Chrome with its driver does as well.
browser:
	@{ command -v chromedriver && { command -v chromium || command -v google-chrome; }; } >/dev/null \
		|| { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver fonts-dejavu-core; }

# The newest versions that suit pyproject.toml, with the hashes of all their files; uv asks the index that pip asks.
COMPILE = UV_DEFAULT_INDEX=$$($(PYTHON) -c 'from tools.setup.virtual_environment import package_index as index; print(index())') \
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --upgrade --no-annotate --generate-hashes \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 pyproject.toml

lock:
	$(PYTHON) -m tools.setup.virtual_environment $(VENV)
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) --extra dev --output-file lock/dev.txt
	$(COMPILE) --extra dev --extra parity --output-file lock/dev-parity.txt

# Known faults of the locked versions, from PyPI's database of them.
audit:
	$(PYTHON) -m tools.setup.virtual_environment $(VENV)
	$(BIN)/pip install --quiet pip-audit==$(PIP_AUDIT_VERSION)
	$(BIN)/python -m tools.setup.audit lock/dev.txt lock/dev-parity.txt

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --ignore tests/parity --ignore tests/endurance

# Whole trainings that are resumed, large networks, and variants of what quicker tests show.
test-slow: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --ignore tests/parity --ignore tests/endurance

# Comparisons with PyTorch, a large download.
test-parity:
	$(MAKE) setup EXTRAS=$(call with,parity)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" tests/parity

# Those of them with large networks.
test-parity-slow:
	$(MAKE) setup EXTRAS=$(call with,parity)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow tests/parity

# Exports in all engines, a large download. A missing package is a failure, where other tests would be skipped.
test-export:
	$(MAKE) setup EXTRAS=$(call with,export)
	REQUIRE_EXPORT=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/tools/export tests/scripts/test_examples.py

# Runs that are killed again and again, and long ones whose memory is looked at.
test-endurance: setup
	$(BIN)/python -m pytest -rP tests/endurance

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: setup
	$(BIN)/python -m tools.demo

clean:
	rm -rf demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
