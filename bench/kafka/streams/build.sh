#!/usr/bin/env bash
# Makes the class path of the Kafka Streams program: its jars, and the program.
#
#   bench/kafka/streams/build.sh DIR
set -euo pipefail
dir=$(realpath -m "$1")
here=$(dirname "$0")
mkdir -p "$dir"
if [ ! -e "$dir/complete" ]; then
    echo "Getting Kafka Streams' jars with Maven, once ..." >&2
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$dir"
    touch "$dir/complete"
fi
if [ ! "$dir/WindowedCounts.class" -nt "$here/WindowedCounts.java" ]; then
    javac -d "$dir" -cp "$dir/*" "$here/WindowedCounts.java"
fi
