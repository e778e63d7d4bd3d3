#!/usr/bin/env bash
# Fails when a Go file is not formatted, and names the files.
set -euo pipefail
cd "$(dirname "$0")/.."

files=$(find . -name '*.go' -not -path './.cache/*' -print0 | xargs -0 gofmt -l)
if [ -n "$files" ]; then
    echo "not formatted (run gofmt -w on them):" >&2
    echo "$files" >&2
    exit 1
fi
