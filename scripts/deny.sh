#!/usr/bin/env bash
# Checks the dependencies' licences, bans and sources with cargo-deny, which it installs below target/
# where it is not on the PATH. The RustSec database needs the network at large: `cargo deny check
# advisories` is for where that is.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
export PATH="$PWD/target/tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null 2>&1; then
  echo "installing cargo-deny $version into target/tools (some minutes, once)"
  # Unoptimised, since it runs for a second and is built for minutes.
  cargo install cargo-deny --version "$version" --locked --debug --root target/tools --quiet
fi
cargo deny --log-level error check licenses bans sources
