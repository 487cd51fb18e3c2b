#!/usr/bin/env bash
# The alert rules and their tests, and that rules and dashboard name no metric that nothing has.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 - <<'PYTHON'
import json, pathlib, re, sys

source = "".join(path.read_text() for path in pathlib.Path().glob("*/src/**/*.rs"))
text = pathlib.Path("monitoring/alerts.yml").read_text()
dashboard = json.loads(pathlib.Path("monitoring/grafana.json").read_text())
text += "\n".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
names = {re.sub("_bucket$", "", name) for name in re.findall(r"\btandem_\w+", text)}
# Some are written with what all begin with, some get it where they are registered.
missing = [name for name in sorted(names) if f'"{name}"' not in source and f'"{name.removeprefix("tandem_")}"' not in source]
if missing or len(names) < 20:
    sys.exit(f"monitoring/ names what no part of the node has: {missing} of {sorted(names)}")
PYTHON

if ! command -v promtool >/dev/null; then
  if [ -n "${CI:-}" ]; then
    echo "promtool is not there: run scripts/setup.sh test" >&2
    exit 1
  fi
  echo "skipped the alert rules: promtool is not there; scripts/setup.sh test installs it"
  exit 0
fi
promtool check rules monitoring/alerts.yml
cd monitoring && promtool test rules alerts_test.yml
