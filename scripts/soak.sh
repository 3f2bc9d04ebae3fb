#!/usr/bin/env bash
# Looks for defects as long as it is given: soak.sh SECONDS, default 600. With a nightly toolchain cargo-fuzz runs every
# target guided by coverage, a share of the time each; without one they run over seeded mutations. Then simulations with
# seeds that no run had before, then MEDIA_MINUTES (default 10) of calls that come and go through the gateway (`loadgen soak`),
# and as many of calls between clocks that differ by 200 ppm (`loadgen drift`). It says what it does; the first defect ends it with 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SECONDS_GIVEN=${1:-600}
CARGO_FUZZ_VERSION=0.13.1
TARGETS=(message headers uri digest framer sdp srtp rtp rtcp entrance media_call session endpoint)
SHARE=$((SECONDS_GIVEN / (${#TARGETS[@]} + 1)))
[ "$SHARE" -ge 1 ] || SHARE=1

say() { printf 'soak: %s\n' "$*"; }

guided() {
    if ! cargo fuzz --version >/dev/null 2>&1; then
        say "cargo-fuzz is missing; building it (some minutes, once)"
        cargo install --quiet --locked cargo-fuzz --version "$CARGO_FUZZ_VERSION"
    fi
    local target folder found longest
    for target in "${TARGETS[@]}"; do
        say "cargo-fuzz: $target for $SHARE s"
        found=target/soak/corpus/$target
        mkdir -p "$found"
        folder=() longest=4096
        case $target in
        message | framer | headers) folder=(crates/sip-ua/tests/vectors/rfc4475 crates/sip-ua/tests/vectors/rfc5118) ;;
        sdp) folder=(crates/media-bridge/src/sdp/fixtures) ;;
        # What lies behind the last operation of an input is not looked at.
        media_call | session | endpoint) longest=512 ;;
        esac
        # No sanitizer: there is no unsafe code of ours, and the address sanitizer leaves a third of the executions.
        cargo +nightly fuzz run --sanitizer none --target-dir target/soak/build "$target" "$found" "fuzz/corpus/$target" "${folder[@]}" -- \
            -max_total_time="$SHARE" -max_len="$longest" -timeout=10 -print_final_stats=0 -verbosity=0
    done
}

SEED=$(date +%s)
if cargo +nightly --version >/dev/null 2>&1; then
    guided
else
    say "no nightly toolchain (rustup toolchain install nightly): seeded mutations instead of coverage"
    for target in "${TARGETS[@]}"; do
        say "seeded mutations: $target for $SHARE s from seed $SEED"
        cargo run --quiet --release --locked -p fuzz-targets -- "$target" "$SHARE" "$SEED"
    done
fi
say "simulations for $SHARE s from seed $SEED"
cargo run --quiet --release --locked -p simnet --example soak -- "$SHARE" "$SEED"
MEDIA_MINUTES=${MEDIA_MINUTES:-10}
scripts/setup.sh bench
say "calls come and go at 70 % load for $MEDIA_MINUTES min"
cargo build --release --locked -p gateway -p loadgen
"${CARGO_TARGET_DIR:-target}/release/loadgen" soak --minutes "$MEDIA_MINUTES" --load 0.7
say "calls between clocks that differ for $MEDIA_MINUTES min"
"${CARGO_TARGET_DIR:-target}/release/loadgen" drift --minutes "$MEDIA_MINUTES"
say "no defect found in $SECONDS s"
