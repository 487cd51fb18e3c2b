#!/usr/bin/env bash
# Installs what the named purposes need and is not there yet: build, demo, test, bench.
# Debian packages come by apt-get where this is root; everyone else is told what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

need=()
packages=()
pythons=()
requirements=()
# want COMMAND PACKAGE: PACKAGE is installed where COMMAND is not found.
want() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || need+=("$2"); }

for purpose in "${@:-build}"; do
  case $purpose in
  build)
    want cc gcc
    want make make
    want curl curl
    # What says texts, unless told otherwise.
    want espeak-ng espeak-ng
    ;;
  demo)
    want sipp sip-tester
    want ip iproute2
    want ethtool ethtool
    want tcpdump tcpdump
    ;;
  test)
    want python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || need+=(postgresql)
    want baresip baresip-core
    want espeak-ng espeak-ng
    want iptables iptables
    want setcap libcap2-bin
    want kamailio kamailio
    want node nodejs
    want npm npm
    want chromium chromium
    want promtool prometheus
    packages+=(tandem/tests/jssip tandem/tests/playwright api/tests/twilio)
    pythons+=(contract:schemathesis==4.32.5 twilio-python:twilio==9.13.0)
    requirements+=(tandem/tests/pipecat)
    ;;
  bench)
    want rtpengine rtpengine-daemon
    want kamailio kamailio
    want sipp sip-tester
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || need+=(postgresql)
    want node nodejs
    want npm npm
    want chromium chromium
    packages+=(tandem/tests/playwright)
    ;;
  *)
    echo "setup: no such purpose: $purpose (build, demo, test, bench)" >&2
    exit 2
    ;;
  esac
done

if [ ${#need[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup: please install, as root:  apt-get install --no-install-recommends ${need[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # Installing a server must not start it on this machine.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    trap 'rm -f '$policy EXIT
  fi
  log=$(mktemp)
  if ! { apt-get update && apt-get install -y --no-install-recommends "${need[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
  fi
  rm -f "$log"
fi

# The browser phone of one end-to-end test, what drives a browser in another, and Twilio's library, as their lock
# files say.
for from in "${packages[@]}"; do
  to=${CARGO_TARGET_DIR:-target}/${from##*/}
  cmp -s "$from/package-lock.json" "$to/package-lock.json" && continue
  rm -rf "$to"
  mkdir -p "$to.new"
  cp "$from"/package*.json "$to.new"
  npm ci --prefix "$to.new" --ignore-scripts --no-audit --no-fund --silent
  mv "$to.new" "$to"
done

# What holds the REST API against its own document, and Twilio's library, which the examples need too: FOLDER:PACKAGE.
for python in "${pythons[@]}"; do
  to=${CARGO_TARGET_DIR:-target}/${python%%:*}
  wanted=${python#*:}
  [ "$(cat "$to/wanted" 2>/dev/null)" = "$wanted" ] && continue
  rm -rf "$to"
  python3 -m venv "$to"
  "$to/bin/pip" install --quiet --disable-pip-version-check "$wanted"
  echo "$wanted" >"$to/wanted"
done

# A framework of bots, without what only its models need: all of the file, and nothing else.
for from in "${requirements[@]}"; do
  to=${CARGO_TARGET_DIR:-target}/${from##*/}
  cmp -s "$from/requirements.txt" "$to/wanted" && continue
  rm -rf "$to"
  python3 -m venv "$to"
  "$to/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$from/requirements.txt"
  cp "$from/requirements.txt" "$to/wanted"
done

if ! command -v cargo >/dev/null 2>&1; then
  echo "setup: cargo is missing; install Rust from https://rustup.rs" >&2
  exit 1
fi
scripts/toolchain.sh
