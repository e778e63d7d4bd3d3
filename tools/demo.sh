#!/usr/bin/env bash
# Counts the words of the Go distribution's source twice with one program: in its
# own process, then on a server. Ends with an error if the counts differ.
#
#   tools/demo.sh [INPUT]    INPUT is a directory or a glob
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/server.sh

input=${1:-$(go env GOROOT)/src}
out=.cache/demo
rm -rf "$out"
mkdir -p "$out"
go build -tags rocksdb -o bin/wordcount ./examples/wordcount

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Embedded: wordcount --runner=summerbeam"
bin/wordcount --runner=summerbeam --input="$input" --output="$out/embedded.txt" | tee "$out/embedded.top"

say "2. Served: summerbeam serve, and wordcount --endpoint=..."
start_server "$out/server.log" --data_dir="$out/data"
tail -n +1 -f --pid="$SERVER_PID" "$out/server.log" > >(grep --line-buffered -E 'msg=(serving|progress|"job )' >&2) &
bin/wordcount --runner=universal --endpoint="$ENDPOINT" --environment_type=LOOPBACK \
    --input="$input" --output="$out/served.txt" | tee "$out/served.top"
stop_server

cmp "$out/embedded.top" "$out/served.top"
cmp <(LC_ALL=C sort "$out/embedded.txt") <(LC_ALL=C sort "$out/served.txt")
say "Both counted the same $(wc -l <"$out/embedded.txt") different words."
