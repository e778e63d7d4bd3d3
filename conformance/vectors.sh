#!/usr/bin/env bash
# Runs Beam's trigger transcripts and its vectors of standard coders. Both are files in the
# wheel of Beam's Python SDK, which is downloaded once, without what it depends on.
set -euo pipefail
cd "$(dirname "$0")/.."

beam=$(grep -m1 ^apache-beam conformance/python/requirements.txt)
dir=.cache/vectors/$beam
if [ ! -d "$dir/apache_beam" ]; then
  mkdir -p "$dir"
  python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$dir" "$beam" || {
    echo "conformance-vectors: $beam can't be downloaded; this target needs pip and a package registry that serves it" >&2
    exit 1
  }
  (cd "$dir" && python3 -m zipfile --extract ./*.whl unpacked && mv unpacked/apache_beam . && rm -rf unpacked ./*.whl)
fi
files=$PWD/$dir/apache_beam
export SUMMERBEAM_TRANSCRIPTS=$files/testing/data/trigger_transcripts.yaml
export SUMMERBEAM_STANDARD_CODERS=$files/portability/api/standard_coders.yaml

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for test in 'TestTranscripts ./triggers' 'TestStandardVectors ./internal/coders'; do
  # Not from the cache: what is in the environment is a name, not what the file holds.
  # shellcheck disable=SC2086
  go test -count=1 -v -run $test >"$log" 2>&1 || { cat "$log"; exit 1; }
  sed -n 's/^ *[a-z]*_test.go:[0-9]*: //p' "$log"
done
