#!/usr/bin/env bash
# Prints the packages that have files of a build tag: tagged.sh rocksdb.
# The tests of all others are the same with and without the tag.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=$1
find . -name '*.go' -not -path './.cache/*' -print0 |
    xargs -0 grep -lE "^//go:build.*\b$tag\b" |
    xargs -n1 dirname | sort -u
