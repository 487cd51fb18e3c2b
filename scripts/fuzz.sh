#!/usr/bin/env bash
# Builds every fuzz target and runs each for SECONDS_EACH (2 by default). A target begins with its
# seeds, where it has any; what it finds beyond them is kept below target/ for the next run.
# A compiler with sanitizers is not needed: coverage comes from flags that stable has. For long runs
# use cargo-fuzz, which finds the same targets.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-2}
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
# With --target the flags are not for build scripts.
triple=$(rustc -vV | sed -n 's/^host: //p')
for manifest in */fuzz/Cargo.toml; do
  cargo build --quiet --release --locked --manifest-path "$manifest" --target "$triple" --target-dir "$target"
  for source in "$(dirname "$manifest")"/fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    artifacts=$target/artifacts/$(dirname "$(dirname "$manifest")")-$name/
    corpus=$target/corpus/$(dirname "$(dirname "$manifest")")-$name
    mkdir -p "$artifacts" "$corpus"
    inputs=("$corpus")
    seeds=$(dirname "$manifest")/seeds/$name
    if [ -d "$seeds" ]; then
      inputs+=("$seeds")
    fi
    log=$(mktemp)
    if ! "$target/$triple/release/$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 \
      -max_len=4096 -artifact_prefix="$artifacts" "${inputs[@]}" >"$log" 2>&1; then
      tail -n 30 "$log" >&2
      echo "fuzz: $name failed; the input is in $artifacts" >&2
      exit 1
    fi
    echo "fuzz: $name: $(grep -c '' <"$log") lines, $(sed -n 's/^Done \(.*\)/\1/p' "$log")"
    rm -f "$log"
  done
done
