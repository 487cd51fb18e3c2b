#!/usr/bin/env bash
# Checks the manifests and the image recipe; see check.py. The Kubernetes schemas come with a Python
# package, into a virtual environment under target/.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${CARGO_TARGET_DIR:-target}/k8s-check
wanted="kubernetes-validate==1.37.0 pyyaml==6.0.3"
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  # shellcheck disable=SC2086 # two words are two packages
  "$venv/bin/pip" install --quiet --disable-pip-version-check $wanted
  echo "$wanted" >"$venv/wanted"
fi
"$venv/bin/python" k8s/check.py

# kubectl is not needed, but where it is there it has a say.
if command -v kubectl >/dev/null 2>&1; then
  for folder in k8s/base k8s/io-uring; do
    kubectl kustomize "$folder" >/dev/null
  done
  echo "k8s: kubectl builds both variants"
fi
