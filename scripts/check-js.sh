#!/usr/bin/env bash
# Type-checks the phone page (browser modules) and the test drivers (node modules) with tsc, without a build step.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for config in crates/gateway/web/tsconfig.json tests/tsconfig.drivers.json; do
    node tests/node_modules/typescript/bin/tsc -p "$config"
done
