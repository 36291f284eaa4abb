# Each target does its own set-up; what is there already is skipped. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# V=1 shows the commands.
MAKEFLAGS += --no-print-directory $(if $(V),,--silent)
SYSTEM_PATH := $(PATH)
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

STAMPS := build/stamps
SETUP := $(STAMPS)/apt node_modules/.package-lock.json

.PHONY: help setup build check types lint format imports docs test unit kernel e2e asan test-vm verify bench bench-smoke bare clean need-root

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

need-root:
	@[ "$$(id -u)" -eq 0 ] || { echo "make: this target makes namespaces and loads BPF programs: run it as root" >&2; exit 1; }

setup: $(SETUP) ## install what is missing: Debian packages, Node 24 and the npm packages

$(STAMPS)/apt: tools/apt-packages.txt tools/setup-apt.sh
	@mkdir -p $(@D)
	@tools/setup-apt.sh build test bench
	@touch $@

# npm runs on the Node that is outside: the one inside is what it replaces.
node_modules/.package-lock.json: package-lock.json | $(STAMPS)/apt
	@echo "setup: npm ci"
	@PATH="$(SYSTEM_PATH)" tools/setup-npm.sh >build/npm.log 2>&1 || { tail -n 30 build/npm.log >&2; exit 1; }
	@touch $@

build: $(SETUP) ## compile the addon and the BPF programs
	@test -e build/sekisho.node || echo "build: native addon and BPF programs"
	@$(MAKE) -C native
	@$(MAKE) -C native/bpf

include lab/lab.mk
include test/vm/vm.mk
$(LAB_PROGRAMS): | $(STAMPS)/apt

check: types lint format imports ## types, lint, format, import directions, and docs equal to the code
	@vitest run --project unit test/repo

types: $(SETUP)
	@tsc --noEmit
lint: $(SETUP)
	@eslint . --max-warnings 0
format: $(SETUP)
	@prettier --check --log-level warn .
imports: $(SETUP)
	@depcruise --config .dependency-cruiser.cjs src

docs: $(SETUP) ## write the generated pages: configuration, metrics
	@node tools/docs.ts

test: need-root build lab-programs vm-images ## everything: checks, unit, model, kernel, sanitizers, end to end, guests
	@tools/test.sh types lint format imports unit-1 unit-2 verify bench asan-build kernel seal asan e2e vm

unit: $(SETUP)
	@tools/test.sh unit
kernel: need-root build lab-programs vm-programs
	@tools/test.sh kernel seal
e2e: need-root build lab-programs vm-programs
	@tools/test.sh e2e
asan: build
	@tools/test.sh asan

verify: $(SETUP) ## check the model of the key rotation with spin: some minutes; make test does the bounded form
	@tools/verify.sh full

test-vm: build vm-images ## boot Debian's kernels in QEMU: real WireGuard (KERNELS=6.1 for one, VM_JSON=file for a summary)
	@node test/vm/run.ts $(KERNELS)

bench: need-root build vm-programs ## compare with dnsdist; writes bench/results and docs/performance.md
	@tools/setup-apt.sh bench vm
	@$(MAKE) -C bench
	@node bench/run.ts
	@node bench/table.ts

bench-smoke: need-root build ## every scenario of the bench for a moment: shows that it runs, measures nothing
	@tools/setup-apt.sh bench
	@$(MAKE) -C bench
	@node bench/run.ts --smoke

bare: need-root ## make demo and make test in a fresh Debian root
	@mkdir -p build
	@tools/setup-apt.sh bare
	@tools/bare.sh

clean: ## remove what was built; packages and node_modules stay
	rm -rf build
