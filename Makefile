# Everything that a developer types. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest
# More processes than cores, because most tests wait for something most of the time.
PARALLEL := -n 3 --dist worksteal
# In the thousands of tests that `make test` runs, one may lose a race against a busy machine: it gets a second try, and
# the summary names it, to be mended. More than a few are a failure.
SECOND_TRY := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks
# Each writes a file of this repository, or with --check compares it.
GENERATORS := tools.reference tools.manual tools.client_methods tools.hub_commands tools.config_file

# What builds the Debian packages: the Build-Depends of packaging/debian/control, and what checks them.
DEB_TOOLS := build-essential debhelper dh-python lintian pybuild-plugin-pyproject python3-all python3-click \
	python3-hatchling python3-platformdirs python3-rich

# What builds and checks the RPM packages.
RPM_TOOLS := rpm rpmlint python3-click python3-hatchling python3-platformdirs python3-rich

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast test-guest test-matrix test-minimum coverage soak bench bench-compare native \
	pyz dist deb rpm docs generate check-generated lint format release clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'make: developing needs Python 3.10 or later (the agent itself runs on 3.9); set PYTHON=' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || tools/apt-install python3-venv
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --upgrade 'pip>=25.1'
	$(RUN) -m pip install --quiet --editable '.[host,exporter]' --group dev
	@touch $@

setup: $(VENV)/ready ## Install the Python environment and the lab's Debian packages.
	@$(RUN) -m lab setup

run: ## Boot a guest with the agent, and watch it work (LOOPBACK=1: without a guest; RELEASE=trixie: another Debian).
	@command -v $(PYTHON) >/dev/null || tools/apt-install python3 python3-venv
	@$(PYTHON) -m tools.demonstrate $(if $(LOOPBACK),--loopback) $(if $(RELEASE),--release $(RELEASE))

test: setup ## Run all tests, including those in real guests.
	@tools/apt-install fdisk e2fsprogs xfsprogs btrfs-progs iproute2 mount socat man-db groff openssh-client openssh-server sshfs rsync git curl \
		libvirt-daemon-system libvirt-clients ansible python3-libvirt qemu-guest-agent postgresql redis-server mariadb-server \
		prometheus prometheus-node-exporter openssl \
		gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
		xorriso $(DEB_TOOLS) $(RPM_TOOLS)
	@$(RUN) -m lab build
	@$(MAKE) --no-print-directory coverage PYTEST='$(PYTEST) $(SECOND_TRY)'
	@$(MAKE) --no-print-directory test-matrix OLDEST=1
	@$(MAKE) --no-print-directory test-minimum
	$(PYTEST) $(SECOND_TRY) -n 2 --dist loadfile -m 'guest and not soak' --durations 25

test-fast: $(VENV)/ready ## Run the tests that need no guest.
	$(PYTEST) $(PARALLEL) -m 'not soak and not guest'

coverage: $(VENV)/ready ## Run the tests that need no guest; fail if they cover too little of the source.
	$(PYTEST) $(PARALLEL) -m 'not soak and not guest' --cov --cov-report=term:skip-covered

test-matrix: $(VENV)/ready ## Run the agent's tests with each Python from 3.9 to 3.14 found (OLDEST=1: with the oldest).
	@$(RUN) -m tools.matrix pythons $(if $(OLDEST),--oldest)

test-minimum: $(VENV)/ready ## Run the host's tests with the oldest supported versions of its dependencies.
	@$(RUN) -m tools.matrix minimum

soak: setup ## Run the tests that take long.
	@$(RUN) -m lab build
	$(PYTEST) -m soak --timeout 3600

bench: setup ## Compare with qemu-ga and the bare port (QUICK=1: fewer rounds; DOCS=1: write docs/benchmarks.md).
	@$(RUN) -m lab build
	@$(RUN) -m bench run $(if $(QUICK),--quick) $(if $(DOCS),--docs)

bench-compare: setup ## Compare the speed of this checkout with BASE, a git revision or a directory (QUICK=1: roughly).
	@$(if $(BASE),,echo 'make: set BASE to a git revision or a directory, as in: make bench-compare BASE=main' >&2; exit 2)
	@$(RUN) -m lab build
	@$(RUN) -m bench compare --base '$(BASE)' $(if $(QUICK),--quick)

native: $(VENV)/ready ## Build build/native/phoenix-wait-*, which an idle agent becomes.
	@$(RUN) -m tools.build_native

pyz: $(VENV)/ready ## Build dist/phoenix-ga.pyz, the agent in one file.
	@$(RUN) -m tools.build_pyz

dist: $(VENV)/ready ## Build the source archive and the wheel into dist/, with an SBOM.
	@$(RUN) -m tools.build_dist

deb: $(VENV)/ready ## Build the Debian packages into dist/, and check them with lintian.
	@tools/apt-install $(DEB_TOOLS)
	@$(RUN) -m tools.build_deb

rpm: $(VENV)/ready ## Build the RPM packages into dist/, and check them with rpmlint.
	@tools/apt-install $(RPM_TOOLS)
	@$(RUN) -m tools.build_rpm

generate: $(VENV)/ready ## Write the files that are generated: code, reference, man page.
	@set -e; for generator in $(GENERATORS); do $(RUN) -m $$generator; done

docs: generate ## The same as `make generate`.

check-generated: $(VENV)/ready ## Fail if a generated file is out of date.
	@set -e; for generator in $(GENERATORS); do $(RUN) -m $$generator --check || \
		{ echo "make: what $$generator writes is out of date; run: make generate" >&2; exit 1; }; done

lint: $(VENV)/ready check-generated ## Check style, types and generated files.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/ready ## Format the source.
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

release: $(VENV)/ready ## Commit, tag and build a release into dist/ (VERSION=1.2.0; DRY_RUN=1: only show).
	@$(RUN) -m tools.release $(if $(DRY_RUN),--dry-run) -- '$(VERSION)'

clean: ## Remove what was built here; the guest image stays in the user's cache.
	rm -rf $(VENV) dist build .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .venvs src/*.egg-info
