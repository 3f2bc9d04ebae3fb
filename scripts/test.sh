#!/usr/bin/env bash
# All checks and tests of the tree. Nothing is skipped: a missing tool, a failed step or a failed test is a failed run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

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
    cargo build --locked -p gateway || return 1
    WEBTRUNK_BIN=$TARGET/debug/webtrunk cargo nextest run --locked --workspace --no-fail-fast
}

step "format" cargo fmt --all --check
step "lints" cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
step "types of the page and the drivers" scripts/check-js.sh
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
