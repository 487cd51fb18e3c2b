#!/usr/bin/env bash
# Every check and test, the cheapest first. `make test` installs what this needs.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
# What a debugger would need is most of what is written and linked.
export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG-0}
# Most of what the slow ones do is to wait: for audio, for timers of protocols, for a peer.
export RUST_TEST_THREADS=${RUST_TEST_THREADS-4}
flags=(--locked --workspace --exclude ebpf)

step() {
  printf '\n== %s (%ds)\n' "$*" "$SECONDS"
}

step "format"
cargo fmt --all --check
step "lints"
# With what is behind a feature: nothing is left out for it.
cargo clippy "${flags[@]}" --features tandem/otel --all-targets -- -D warnings
step "documentation"
# Not of `tandem`: it has no library, and what looks like its documentation is its --help.
RUSTDOCFLAGS="-D warnings" cargo doc "${flags[@]}" --exclude tandem --no-deps --quiet
step "dependencies: licences, bans, sources"
scripts/deny.sh
step "binaries that the end-to-end tests run"
cargo build "${flags[@]}" --bins
step "tests"
cargo test "${flags[@]}" --no-fail-fast
step "messages to and from rsip"
cargo clippy --locked --package sip --features rsip --all-targets -- -D warnings
cargo test --locked --package sip --features rsip --lib rsip::
cargo test --locked --package sip --features rsip --doc rsip
RUSTDOCFLAGS="-D warnings" cargo doc --locked --package sip --features rsip --no-deps --quiet
step "calls as OpenTelemetry traces"
# All rooms, so that no dependency is built anew for other features; the tests of that name are few.
cargo test "${flags[@]}" --features tandem/otel --lib -- trace
step "the parser beside rsip"
cargo fmt --manifest-path sip/peers/Cargo.toml --check
cargo test --quiet --locked --manifest-path sip/peers/Cargo.toml \
  --target-dir "${CARGO_TARGET_DIR:-target}/peers"
step "alert rules and dashboard"
scripts/monitoring.sh
step "fuzz targets"
scripts/fuzz.sh
step "Kubernetes manifests"
k8s/check.sh
step "done"
