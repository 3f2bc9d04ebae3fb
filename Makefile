# Two commands matter: `make run` and `make test`. Both get what is missing, and say what that is.
SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/bin:/usr/sbin:/sbin
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup-run run setup-test test bench soak docs fmt lint

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | sort | while IFS=$$'\t' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

setup-run: ## get what building needs (cmake, a C compiler)
	@scripts/setup.sh run

run: setup-run ## build the release binary and start the demo phone on this machine
	cargo build --release --locked -p gateway
	@echo
	$${CARGO_TARGET_DIR:-target}/release/webtrunk demo

setup-test: ## get what the tests need (SIPp, browsers, softphone, speech, scoring)
	@scripts/setup.sh test

test: setup-test ## everything: format, lints, types, unit, simulation, SIPp, browsers, softphones
	@scripts/test.sh

setup-bench: ## get what the benches need (SIPp, rtpengine, speech)
	@scripts/setup.sh bench

bench: setup-bench ## what a message, a call, a registration and media cost, each beside a reference (rtpengine among them)
	cargo bench --locked -p sip-ua --bench message
	cargo bench --locked -p gateway --bench calls
	cargo bench --locked -p media-bridge --bench media_call
	cargo bench --locked -p media-bridge --bench srtp
	cargo bench --locked -p webrtc-peer --bench setup
	cargo bench --locked -p media-io --bench sockets
	cargo build --release --locked -p gateway -p loadgen
	$${CARGO_TARGET_DIR:-target}/release/loadgen bench

docs: setup-test ## write docs/RFC.md out of the tests, docs/QUALITY.md out of a minute of calls
	WEBTRUNK_WRITE_DOCS=1 cargo test --quiet --locked -p e2e --test tree rfc
	cargo test --quiet --locked -p e2e --test sound tables
	WEBTRUNK_WRITE_DOCS=1 cargo test --quiet --locked -p e2e --test sound the_trunk_hear_each_other -- --test-threads=1
	WEBTRUNK_WRITE_DOCS=1 cargo test --quiet --locked -p e2e --test sound every_browser_connects
	WEBTRUNK_WRITE_DOCS=1 cargo test --quiet --locked -p media-bridge --lib fidelity

SECONDS ?= 600
soak: setup-run ## look for defects by fuzzing and simulations, `make soak SECONDS=3600` for an hour
	@scripts/soak.sh $(SECONDS)

fmt: ## format the Rust sources
	cargo fmt --all

lint: ## clippy over everything, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings
