#!/usr/bin/env bash
# Runs one program, without a change, on Summerbeam (embedded and served), on
# Prism and on the direct runner, and compares what it writes, byte for byte
# after sorting: Beam promises no order.
#
#   tools/swap.sh [INPUT]    INPUT is a directory or a glob
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/server.sh

input=${1:-$(go env GOROOT)/src/net}
out=.cache/swap
rm -rf "$out"
mkdir -p "$out"
go build -tags rocksdb -o bin/wordcount ./examples/wordcount

# run NAME FLAG... runs the program and sorts what it has written.
run() {
    local name=$1
    shift
    if ! bin/wordcount "$@" --input="$input" --output="$out/$name.txt" >"$out/$name.top" 2>"$out/$name.log"; then
        echo "wordcount failed on $name:" >&2
        tail -n 30 "$out/$name.log" >&2
        return 1
    fi
    LC_ALL=C sort "$out/$name.txt" >"$out/$name.sorted"
    printf '%-9s %7d words  sha256 %s\n' "$name" "$(wc -l <"$out/$name.sorted")" \
        "$(sha256sum <"$out/$name.sorted" | cut -c1-16)"
}

run embedded --runner=summerbeam
start_server "$out/server.log" --data_dir="$out/data"
run served --runner=universal --endpoint="$ENDPOINT" --environment_type=LOOPBACK
stop_server
run prism --runner=prism
run direct --runner=direct

for name in served prism direct; do
    cmp "$out/embedded.sorted" "$out/$name.sorted"
    cmp "$out/embedded.top" "$out/$name.top"
done
echo "All four wrote the same."
