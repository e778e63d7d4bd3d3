#!/bin/bash
# Runs Beam's own Python tests against Summerbeam, in a venv of their own.
# Arguments go to driver.py; see there.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=.cache/python
wanted=conformance/python/requirements.txt
if ! cmp -s "$wanted" "$venv/installed"; then
  rm -rf "$venv"
  python3 -m venv "$venv" || {
    echo "conformance-python: needs Python 3.10 or later with venv" >&2
    exit 1
  }
  echo "installing $(grep -m1 ^apache-beam "$wanted") and its test dependencies into $venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" || {
    rm -rf "$venv"
    echo "conformance-python: Beam's Python SDK can't be installed; this target needs a package registry that serves it" >&2
    exit 1
  }
  cp "$wanted" "$venv/installed"
fi
exec "$venv/bin/python" conformance/python/driver.py "$@"
