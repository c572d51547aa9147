# Everything that a developer types. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast soak bench pyz docs generate lint format clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'make: developing needs Python 3.10 or later (the agent itself runs on 3.9); set PYTHON=' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || tools/apt-install python3-venv
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --upgrade 'pip>=25.1'
	$(RUN) -m pip install --quiet --editable '.[host]' --group dev
	@touch $@

setup: $(VENV)/ready ## Install what the guest and the tests need on this machine.
	@$(RUN) -m lab setup

run: $(VENV)/ready ## Boot a guest with the agent, and watch it work (LOOPBACK=1: without a guest).
ifdef LOOPBACK
	@$(RUN) -m tools.demonstrate --loopback
else
	@$(RUN) -m lab setup
	@tools/apt-install socat
	@$(RUN) -m tools.demonstrate
endif

test: setup ## Run all tests, a real guest included.
	@tools/apt-install e2fsprogs xfsprogs iproute2 socat man-db groff openssh-client rsync git curl \
		libvirt-daemon-system libvirt-clients ansible python3-libvirt
	@$(RUN) -m lab build
	$(PYTEST) -m 'not soak'

test-fast: $(VENV)/ready ## Run the tests that need no guest.
	$(PYTEST) -m 'not soak and not guest'

soak: setup ## Run the long repetitions.
	@$(RUN) -m lab build
	$(PYTEST) -m soak --timeout 3600

bench: setup ## Measure beside qemu-ga and the bare port (QUICK=1: roughly; DOCS=1: write docs/benchmarks.md).
	@$(RUN) -m lab build
	@$(RUN) -m bench $(if $(QUICK),--quick) $(if $(DOCS),--docs)

pyz: $(VENV)/ready ## Build dist/phoenix-ga.pyz, the agent in one file.
	@$(RUN) -m tools.build_pyz

docs: $(VENV)/ready ## Write docs/commands.md and the man page of phoenixctl from the declarations.
	@$(RUN) -m tools.reference
	@$(RUN) -m tools.manual

generate: $(VENV)/ready ## Write the client's generated methods from the declarations.
	@$(RUN) -m tools.client_methods

lint: $(VENV)/ready ## Check types and style.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/ready ## Format the source.
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean: ## Remove what was built here; the guest image stays in the user's cache.
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
