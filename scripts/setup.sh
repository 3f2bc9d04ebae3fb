#!/usr/bin/env bash
# Gets what `make run`, `make bench` or `make test` needs and this machine lacks. It names what is missing, installs it as root or
# through sudo, starts no daemon, and where it cannot install prints the one command to run and stops with 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# probe:package, where the probe is a command, or a file if it begins with a slash
RUN_TOOLS=(cc:gcc /usr/include/stdlib.h:libc6-dev make:make cmake:cmake)
TEST_TOOLS=("${RUN_TOOLS[@]}" c++:g++ pkg-config:pkg-config
    sipp:sip-tester chromium:chromium firefox-esr:firefox-esr baresip:baresip-core linphonec:linphone-cli
    pulseaudio:pulseaudio pactl:pulseaudio-utils sox:sox espeak-ng:espeak-ng
    /usr/share/pocketsphinx/test/data:pocketsphinx-testdata
    turnserver:coturn node:nodejs npm:npm python3:python3 ip:iproute2 openssl:openssl curl:curl kill:procps
    strace:strace opusdec:opus-tools
    /usr/lib/python3/dist-packages/prometheus_client:python3-prometheus-client)
BENCH_TOOLS=("${RUN_TOOLS[@]}" sipp:sip-tester taskset:util-linux rtpengine:rtpengine-daemon
    /usr/share/pocketsphinx/test/data:pocketsphinx-testdata)
NEXTEST_VERSION=0.9.122
TOOLS_DIR=target/test-tools

say() { printf 'setup: %s\n' "$*"; }
stop() {
    say "$*" >&2
    exit 1
}

present() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing_packages() {
    local entry
    for entry in "$@"; do
        present "${entry%:*}" || echo "${entry##*:}"
    done
    [ "$KIND" = test ] || return 0
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    python3 -c 'import ctypes; ctypes.CDLL("libsrtp2.so.1")' 2>/dev/null || echo libsrtp2-1
    python3 -c 'import ctypes; ctypes.CDLL("libspandsp.so.2")' 2>/dev/null || echo libspandsp2
    # pesq is C: its build needs the headers of this python
    python3 -c 'import os, sysconfig as s; os.stat(s.get_paths()["include"] + "/Python.h")' 2>/dev/null || echo python3-dev
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# A package must not start a service on the machine of somebody who only wanted to run tests.
forbid_daemons() {
    [ -e /usr/sbin/policy-rc.d ] && return
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
}

install_packages() {
    local command="apt-get install -y --no-install-recommends $*"
    say "missing here: $*"
    present apt-get || stop "this machine has no apt-get; install the packages above in its own way, then run make again"
    if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
        stop "cannot become root without a password; run this, then make again:  sudo $command"
    fi
    forbid_daemons
    local apt=(as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get)
    say "installing: $command"
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 || {
        "${apt[@]}" update
        "${apt[@]}" install -y --no-install-recommends "$@" || stop "installation failed; run this yourself:  sudo $command"
    }
}

get_node_modules() {
    if [ tests/node_modules/.package-lock.json -nt tests/package-lock.json ]; then return; fi
    say "missing here: node packages of tests/package.json; installing them into tests/node_modules"
    (cd tests && npm ci --ignore-scripts --loglevel=error)
    touch tests/node_modules/.package-lock.json
}

get_python_packages() {
    if [ "$TOOLS_DIR/venv/.stamp" -nt tests/requirements.txt ]; then return; fi
    say "missing here: python packages of tests/requirements.txt; installing them into $TOOLS_DIR/venv"
    mkdir -p "$TOOLS_DIR"
    python3 -m venv --clear "$TOOLS_DIR/venv"
    "$TOOLS_DIR/venv/bin/pip" install --quiet --disable-pip-version-check --use-pep517 -r tests/requirements.txt
    touch "$TOOLS_DIR/venv/.stamp"
}

get_nextest() {
    if cargo nextest --version >/dev/null 2>&1; then return; fi
    say "missing here: cargo-nextest; building it (some minutes, once)"
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked cargo-nextest --version "$NEXTEST_VERSION"
}

main() {
    KIND=${1:-}
    local missing
    case $KIND in
    run) mapfile -t missing < <(missing_packages "${RUN_TOOLS[@]}") ;;
    bench) mapfile -t missing < <(missing_packages "${BENCH_TOOLS[@]}") ;;
    test) mapfile -t missing < <(missing_packages "${TEST_TOOLS[@]}" | sort -u) ;;
    *)
        say "usage: scripts/setup.sh run|bench|test" >&2
        exit 2
        ;;
    esac
    if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi
    present cargo || stop "Rust is missing; get it from https://rustup.rs (1.89 or later), then run make again"
    if [ "$KIND" = test ]; then
        get_node_modules
        get_python_packages
        get_nextest
    fi
    say "everything for make $KIND is here"
}

main "$@"
