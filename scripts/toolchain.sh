#!/bin/sh
# Sets up what builds the XDP programs: a Rust compiler with its standard library's source, and
# bpf-linker. Quick when everything is there. mediad/build.rs finds the rest.
set -eu

LLVM=22                     # the LLVM of bpf-linker 0.10; both must be of one version
LINKER_VERSION=0.10.3
LINKED=tandem-ebpf          # the name of a distribution's compiler in rustup; see mediad/build.rs
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
CARGO_BIN=${CARGO_HOME:-$HOME/.cargo}/bin
PATH=$CARGO_BIN:$PATH

say() { printf 'toolchain: %s\n' "$*"; }
fail() { printf 'toolchain: %s\n' "$*" >&2; exit 1; }

# Does the compiler in folder $1 have the right LLVM and the standard library's source?
able() {
    [ -d "$1/lib/rustlib/src/rust/library/core" ] &&
        "$1/bin/rustc" -vV 2>/dev/null | grep -q "^LLVM version: $LLVM\\."
}

# Does any of rustup's toolchains?
have_toolchain() {
    [ -z "${TANDEM_EBPF_TOOLCHAIN:-}" ] || return 0
    for folder in $(rustup toolchain list -v | sed 's|^[^/]*||'); do
        ! able "$folder" || return 0
    done
    return 1
}

# Debian's compiler and its source, which are of one version.
from_apt() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        return 1
    fi
    say "installing rustc-web, cargo-web and rust-web-src from the distribution's archive"
    $as_root apt-get update -qq || true
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
        rustc-web cargo-web rust-web-src >/dev/null || return 1
}

toolchain() {
    ! have_toolchain || return 0
    if able /usr || { from_apt && able /usr; }; then
        rustup toolchain link "$LINKED" /usr
        return 0
    fi
    say "adding the standard library's source to rustup's active toolchain"
    rustup component add rust-src || true
    have_toolchain || fail "no Rust compiler with LLVM $LLVM and the standard library's source.
    Either run this as root on Debian 12 (it installs rustc-web, cargo-web and rust-web-src), or
    install the component rust-src for a toolchain of rustup whose 'rustc -vV' says LLVM $LLVM
    (1.95 does), or name such a toolchain in TANDEM_EBPF_TOOLCHAIN."
}

is_linker() { [ "$("$1" --version 2>/dev/null)" = "bpf-linker $LINKER_VERSION" ]; }

linker() {
    ! is_linker "$ROOT/target/tools/bin/bpf-linker" || return 0
    ! is_linker bpf-linker || return 0
    # Where another version is in use, ours goes beside it and not over it.
    if command -v bpf-linker >/dev/null; then
        set -- --root "$ROOT/target/tools"
    else
        set --
    fi
    say "installing bpf-linker $LINKER_VERSION (two minutes)"
    CARGO_TARGET_DIR=$ROOT/target/tools/build cargo install bpf-linker \
        --version "$LINKER_VERSION" --locked --quiet "$@"
    rm -rf "$ROOT/target/tools/build"
}

command -v rustup >/dev/null || fail "rustup is missing: see https://rustup.rs, then run this again."
command -v cc >/dev/null || fail "a C compiler is missing: install gcc (Debian: apt install gcc libc6-dev)."
toolchain
linker
