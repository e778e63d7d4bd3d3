#!/usr/bin/env bash
# Gets the class path of Beam's Flink job server: its jars are published, an
# archive of all in one is not.
#
#   bench/flink/jars.sh DIR
set -euo pipefail
dir=$(realpath -m "$1")
if [ -e "$dir/complete" ]; then
    exit
fi
mkdir -p "$dir"
echo "Getting Flink's jars with Maven, once ..." >&2
mvn -q -B -f "$(dirname "$0")/pom.xml" dependency:copy-dependencies -DoutputDirectory="$dir"
touch "$dir/complete"
