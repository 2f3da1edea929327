# What a developer, a packager and CI call. `make` alone prints the targets.
#
# Two commands take a fresh Debian 12 machine, on which one is root and has Rust: `make demo` and `make test`.
# Longer work is in the scripts of tests/env and benches, which say at their top what they do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The explicit build target of .cargo/config.toml puts the programs below the name of the host.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
TEU = $(abspath $(or $(CARGO_TARGET_DIR),target))/$(HOST)/release/teu
VIEWS = $(shell tests/env/view.sh --list)
# Pods need a controller for processors, which not every machine has on version 2.
PODS = $(if $(ENGINES),,hybrid:sid:cri)
MANUALS = $(abspath $(or $(CARGO_TARGET_DIR),target))/manuals

PREFIX ?= /usr/local
# The runtime under test: empty for the teu of this tree, else a name in PATH or a path.
RUNTIME ?=
# How the tests see cgroups: hybrid or v2; empty for what the machine has.
VIEW ?=
# As whom the tests call the runtime: root, userns (root, and every container has a user namespace) or user.
CALLER ?=
export RUNTIME

BUILD_PACKAGES := gcc libc6-dev libseccomp-dev
TEST_PACKAGES := $(BUILD_PACKAGES) busybox-static procps iproute2 uidmap slirp4netns passt

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand --tabs=20

.PHONY: build
build: ## build the static release program
	@tests/env/apt.sh $(BUILD_PACKAGES)
	cargo build --release --locked
	@if readelf --program-headers $(TEU) | grep -q INTERP; then echo "$(TEU) is not static" >&2; exit 1; fi
	@ls -l $(TEU)

.PHONY: demo
demo: build ## show a container, its plan and its life cycle
	@tests/env/demo.sh $(TEU)

.PHONY: check
check: ## the inner loop, without root: format, lints, unit and plan tests
	@tests/env/apt.sh $(BUILD_PACKAGES)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- --deny warnings
	cargo test --workspace --lib --example manuals --test oci-validation --locked --quiet

.PHONY: test
test: ## every test, in every view of cgroups that the machine can give, also of the release program
	@tests/env/apt.sh $(TEST_PACKAGES)
	$(MAKE) check
	cargo test --workspace --lib --locked -- --include-ignored
	cargo test --package teu-seccomp --test '*' --locked
	for view in $(VIEWS); do $(MAKE) integration VIEW=$$view; $(MAKE) oci-validation VIEW=$$view; done
	$(MAKE) build
	for view in $(VIEWS); do $(MAKE) integration CALLER=user VIEW=$$view RUNTIME=$(TEU); done
	$(MAKE) integration CALLER=userns VIEW=v2 RUNTIME=$(TEU)
	$(MAKE) test-engines QUICK=1
	$(MAKE) systemd
	@if [[ $$(uname -m) != x86_64 ]]; then echo "left out: the virtual machine of make test-vm exists for x86_64 only"; \
		else $(MAKE) test-vm MODES="units limits"; fi

.PHONY: integration
integration: ## end-to-end tests; RUNTIME=runc|crun|PATH VIEW=hybrid|v2 CALLER=root|userns|user
	@tests/env/apt.sh $(TEST_PACKAGES) mmdebstrap
	tree=$$(tests/env/debian-rootfs.sh) || echo "no Debian tree could be made: its tests are skipped" >&2; \
		TEU_DEBIAN=$$tree TEU_VIEW=$(VIEW) TEU_AS=$(CALLER) cargo test --test integration --locked

.PHONY: checklist
checklist: ## print what callers rely on (docs/cli.md) with the tests that prove it; RUNTIME and VIEW as above
	TEU_CHECKLIST=1 $(MAKE) integration

.PHONY: acceptance
acceptance: ## run the tests of docs/acceptance.md and count its cases; RUNTIME and VIEW as above
	TEU_CHECKLIST=docs/acceptance.md $(MAKE) integration

.PHONY: oci-validation
oci-validation: ## the official validation suite; RUNTIME and VIEW as above; another runtime is measured, not judged
	@tests/env/apt.sh $(TEST_PACKAGES)
	suite=$$(tests/env/oci-suite.sh); OCI_SUITE=$$suite $(if $(VIEW),tests/env/view.sh $(VIEW)) \
		cargo test --test oci-validation --locked -- --include-ignored --nocapture

.PHONY: test-vm
test-vm: build ## the tests in a virtual machine, with systemd and every controller of cgroup2; MODES="units systemd"
	@tests/env/apt.sh $(TEST_PACKAGES)
	tests/env/test-vm.sh $(TEU) $(MODES)

.PHONY: soak
soak: build ## 500 containers one after the other and fifty at once, in every view, and under systemd in the machine
	for view in $(VIEWS); do TEU_TEST_CYCLES=500 TEU_VIEW=$$view cargo test --test integration --locked -- crash::; done
	tests/env/test-vm.sh $(TEU) soak soak_systemd

.PHONY: test-engines
test-engines: build ## teu, and runc beside it, under the engines of Debian 12 and sid; QUICK=1 ENGINES="docker podman"
	@failed=; for lab in $(if $(findstring hybrid,$(VIEWS)),hybrid:bookworm) v2:sid $(if $(findstring hybrid,$(VIEWS)),$(PODS)); do \
		IFS=: read -r view suite only <<<"$$lab"; echo "== $$suite, $$view $$only"; \
		tests/env/engines.sh $$view $$suite $(TEU) /tests/engines/main.py $(if $(QUICK),--quick) $${only:-$(ENGINES)} || \
			failed+=" $$suite"; done; [[ ! $$failed ]] || { echo "failed:$$failed" >&2; exit 1; }

.PHONY: systemd
systemd: build ## the systemd cgroup driver against a real systemd, which boots in a container of teu's
	for view in $(or $(VIEW),$(VIEWS)); do tests/env/systemd.sh $(TEU) $$view; done

.PHONY: bench
bench: build ## measure teu beside every other runtime found, never a gate; BENCH="--rounds 100"
	@tests/env/apt.sh busybox-static python3 strace time
	@peers=$$(tests/env/peers.sh) || echo "the newest crun and runc could not be had" >&2; \
		tests/env/view.sh $(or $(VIEW),v2) tests/env/guard.sh \
		benches/bench.py $(BENCH) $(TEU) $${peers:+$$peers/crun $$peers/runc}

.PHONY: deny
deny: ## licences, sources and versions of the dependencies
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing; to get it: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check licenses bans sources

.PHONY: manuals
manuals: ## write the manual pages and the completions of bash, zsh and fish to target/manuals
	@tests/env/apt.sh $(BUILD_PACKAGES)
	cargo run --release --locked --quiet --example manuals -- $(MANUALS)

.PHONY: install
install: build manuals ## copy the program, its manual and its completions to $(DESTDIR)$(PREFIX)
	install -D --mode=755 --target-directory=$(DESTDIR)$(PREFIX)/bin $(TEU)
	install -D --mode=644 --target-directory=$(DESTDIR)$(PREFIX)/share/man/man1 $(MANUALS)/man1/*
	install -D --mode=644 --target-directory=$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(MANUALS)/bash/teu
	install -D --mode=644 --target-directory=$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(MANUALS)/zsh/_teu
	install -D --mode=644 --target-directory=$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(MANUALS)/fish/teu.fish
