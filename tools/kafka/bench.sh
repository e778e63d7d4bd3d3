#!/usr/bin/env bash
# Compares Summerbeam with Kafka Streams on a real broker.
#
#   tools/kafka/bench.sh [flags of bin/benchkafka]
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/kafka/broker.sh

if ! have_kafka || ! command -v javac >/dev/null; then
    echo "The benchmark needs a JDK (java, javac) and Maven (mvn) for Kafka and Kafka Streams: they are not here." >&2
    exit 1
fi
bench/kafka/streams/build.sh .cache/bench/streams
make_kafka .cache/kafka/bench
start_kafka
trap kill_kafka EXIT
echo "Kafka broker $(basename "$KAFKA_JARS"/kafka-server-[0-9]*.jar .jar | sed 's/.*-//'), one node"
bin/benchkafka --brokers "$KAFKA" --pid "$KAFKA_PID" "$@"
