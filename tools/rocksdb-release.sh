#!/usr/bin/env bash
# Runs a command whose builds link with a release build of RocksDB: the one that Maven has for Java,
# which has the C API too, in the version of the headers installed here. Debian's has asserts compiled in.
#
#   tools/rocksdb-release.sh go test -tags rocksdb ./statebackend/rocksdb
set -euo pipefail
cd "$(dirname "$0")/.."

tools/deps.sh
version=$(printf '#include <rocksdb/version.h>\nROCKSDB_MAJOR.ROCKSDB_MINOR.ROCKSDB_PATCH\n' |
    gcc -E -P -x c++ - | tail -1 | tr -d ' ')
dir=$PWD/.cache/rocksdb/$version
if [ ! -e "$dir/librocksdb.so" ]; then
    command -v mvn >/dev/null || {
        echo "rocksdb-release: a release build of RocksDB is fetched with Maven, which isn't here" >&2
        exit 1
    }
    mkdir -p "$dir"
    mvn -q -B dependency:copy -Dartifact="org.rocksdb:rocksdbjni:$version:jar:linux64" -DoutputDirectory="$dir" >&2
    (cd "$dir" && jar xf "rocksdbjni-$version-linux64.jar" librocksdbjni-linux64.so)
    mv "$dir/librocksdbjni-linux64.so" "$dir/librocksdb.so"
fi
export CGO_LDFLAGS="-L$dir -Wl,-rpath,$dir"
exec "$@"
