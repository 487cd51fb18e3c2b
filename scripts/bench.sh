#!/usr/bin/env bash
# All benches: the side-by-side runs that the README quotes, then criterion's.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release
ran=yes

# Runs a bench, and goes on where it did not meet its target, or could not run.
measure() {
  local status=0
  "$@" || status=$?
  case $status in
  0) ;;
  1) echo "${1##*/}: the target was not met" ;;
  *)
    echo "${1##*/}: it could not run (exit $status), and nothing was measured"
    ran=no
    ;;
  esac
}

if [ "$(id -u)" -eq 0 ]; then
  echo "== XDP program: ns a packet by test run, against the bare program"
  measure "$bin/xdp_cost"
  echo
  echo "== relays side by side: rtpengine, and mediad on each datapath"
  measure "$bin/relay" --calls "${CALLS:-1000}" --seconds "${SECONDS_EACH:-5}" --rounds "${ROUNDS:-3}"
  echo
  echo "== calls on one core before packets are lost: rtpengine, and mediad over io_uring"
  measure "$bin/capacity" --rounds "${ROUNDS:-2}"
  echo
  echo "== memory of a call: rtpengine, and mediad"
  measure "$bin/footprint" --calls "${MEMORY_CALLS:-20000}" --rounds 1
  echo
  echo "== calls set up and torn down while others stand"
  measure "$bin/churn" --calls "${STANDING_CALLS:-2000}" --rate "${CHURN_RATE:-500}" --seconds "${CHURN_SECONDS:-60}"
  echo
  echo "== calls while banned sources and strangers flood, with XDP and without"
  measure "$bin/flood" --seconds "${SECONDS_EACH:-12}" --rounds "${ROUNDS:-3}"
  echo
  echo "== 50,000 phones that register at once, again and again, while calls go through the node"
  measure "$bin/storm"
else
  echo "skipped the side-by-side runs: they need root for network namespaces and XDP"
fi
echo
echo "== calls set up and torn down: by the control channel, and by NG beside rtpengine"
measure "$bin/setup" --seconds "${SECONDS_EACH:-5}" --rounds "${ROUNDS:-3}"
echo
echo "== SIP proxies side by side: Kamailio, and signaling"
"$bin/sip_proxy" --rate "${CALL_RATE:-600}" --seconds "${SECONDS_EACH:-15}" --rounds "${ROUNDS:-5}"
echo
echo "== registrars side by side: Kamailio, signaling, and a bare UDP echo"
"$bin/sip_register" --rate "${REGISTER_RATE:-2000}" --seconds "${SECONDS_EACH:-10}" --rounds "${ROUNDS:-5}"
echo
echo "== records of calls: written to PostgreSQL, and found among 10 million"
measure "$bin/cdrs" --rounds "${ROUNDS:-5}" --rows "${CDR_ROWS:-10000000}"
echo
echo "== REST beside a bare axum handler over sqlx"
measure "$bin/rest" --seconds "${SECONDS_EACH:-5}" --rounds "${ROUNDS:-5}"
echo
echo "== callers who talk with an application over Media Streams"
measure "$bin/voice" --rounds "${ROUNDS:-3}" --soak "${SOAK_MINUTES:-10}"
echo
echo "== the dashboard in Chromium with 5,000 calls up"
measure "$bin/dashboard" --playwright "${CARGO_TARGET_DIR:-target}/playwright"
echo
echo "== mixed traffic: memory flat, tables empty"
"$bin/mixed" --minutes "${MIXED_MINUTES:-30}" --rate "${MIXED_RATE:-40}"
echo
echo "== criterion"
cargo bench --locked --package benches
echo
echo "== parsers side by side: rsip, rsipstack, sipx-sip, and sip"
cargo bench --locked --manifest-path sip/peers/Cargo.toml --features bench \
  --target-dir "${CARGO_TARGET_DIR:-target}/peers"
echo
echo "== a million simulated calls"
cargo test --release --locked --package signaling --lib -- --ignored --nocapture a_million_calls
if [ "$ran" = no ]; then
  echo "some benches could not run: see above" >&2
  exit 2
fi
