#!/usr/bin/env bash
# All checks and tests of the tree. Nothing is skipped: a missing tool, a failed step or a failed test is a failed run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A run from nothing has no use for what speeds up the next build of the same crate, and pays for it.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
JUNIT=$TARGET/nextest/default/junit.xml
failed_steps=()

step() {
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed_steps+=("$name")
    printf '== %s: %d s\n' "$name" $((SECONDS - start))
}

# An attribute of the whole run, from the first line that carries it.
junit() { sed -n "s/.*<testsuites [^>]*$1=\"\([0-9]*\)\".*/\1/p" "$JUNIT" | head -1; }

run_tests() {
    rm -rf "$JUNIT" target/test-tools/{run,sipp,baresip}
    WEBTRUNK_BIN=$TARGET/debug/webtrunk cargo nextest run --locked --workspace --no-fail-fast
}

step "format" cargo fmt --all --check
step "lints" cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
step "the gateway with its own features" cargo check --quiet --locked -p gateway
step "types of the page and the drivers" scripts/check-js.sh
# The binary together with the tests: built by itself, a fifth of its dependencies would be built twice.
step "build" cargo build --locked --workspace --bins --tests
step "tests" run_tests

printf '\n'
if [ ! -s "$JUNIT" ]; then
    echo "make test: no test ran; failed: ${failed_steps[*]}"
    exit 1
fi
total=$(junit tests) skipped=$(junit skipped) failures=$(($(junit failures) + $(junit errors)))
echo "make test: $((total - failures - skipped)) tests passed, $failures failed, $skipped skipped, $SECONDS s"
if [ "$skipped" != 0 ]; then failed_steps+=("skipped tests"); fi
if [ ${#failed_steps[@]} -gt 0 ]; then
    echo "make test: FAILED: ${failed_steps[*]}"
    exit 1
fi
echo "make test: all good"
