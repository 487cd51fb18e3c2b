#!/usr/bin/env bash
# Prints the configuration that `make run` uses, after writing it where it is not there yet.
set -euo pipefail
cd "$(dirname "$0")/.."
config=${TANDEM_CONFIG:-target/run/tandem.toml}
if [ ! -e "$config" ]; then
  "${CARGO_TARGET_DIR:-target}/release/tandem" init "$config" >&2
fi
echo "$config"
