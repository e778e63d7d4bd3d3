#!/usr/bin/env bash
# Makes sure that what the RocksDB store links against is installed. The Go
# toolchain fetches everything else. `CGO_ENABLED=0 go build ./...` needs none
# of it: without the tag rocksdb there is the Pebble store alone.
set -euo pipefail

command -v gcc >/dev/null || {
    echo "deps: no gcc found, which the RocksDB store needs. Install it, or build without RocksDB: go build -o bin/summerbeam ./cmd/runner" >&2
    exit 1
}

links() {
    printf '#include <rocksdb/c.h>\nint main(void) { return rocksdb_options_create() == 0; }\n' |
        gcc -x c - -lrocksdb -o /dev/null 2>/dev/null
}

links && exit 0

install=(apt-get install -y --no-install-recommends librocksdb-dev)
if ! command -v apt-get >/dev/null; then
    echo "deps: RocksDB's headers and library are missing (Debian: librocksdb-dev). Install them, or build without RocksDB: go build -o bin/summerbeam ./cmd/runner" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
        echo "deps: librocksdb-dev is missing, and installing it needs root. Run: sudo ${install[*]}" >&2
        exit 1
    fi
    as_root=(sudo -n)
fi

echo "deps: installing librocksdb-dev"
export DEBIAN_FRONTEND=noninteractive
# The package lists of a fresh system are empty or old: fetch them and retry.
"${as_root[@]}" "${install[@]}" </dev/null >/dev/null 2>&1 || {
    "${as_root[@]}" apt-get update </dev/null >/dev/null
    "${as_root[@]}" "${install[@]}" </dev/null >/dev/null
}
links || {
    echo "deps: librocksdb-dev is installed but a C program does not link with it" >&2
    exit 1
}
