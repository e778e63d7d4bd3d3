#!/usr/bin/env bash
# Kills a job that reads from and writes to Kafka, again and again, and the broker once.
# Each result must be there once.
#
#   tools/kafka/crash.sh [--short]
#
# The broker is a real one where Java and Maven are, else a fake one in bin/crash.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/kafka/broker.sh

args=(--kafka --store rocksdb --kills 10 --each 500000)
restart=8
if [ "${1:-}" = --short ]; then
    args=(--kafka --store rocksdb --kills 3 --each 20000)
    restart=
fi
if ! have_kafka; then
    echo "Java and Maven are not here: a fake broker takes the real one's place."
    exec bin/crash "${args[@]}"
fi
make_kafka .cache/kafka/crash
start_kafka
trap kill_kafka EXIT
if [ -n "$restart" ]; then
    bin/crash "${args[@]}" --brokers "$KAFKA" &
    job=$!
    sleep "$restart"
    echo "The broker is killed, and started again."
    kill_kafka
    start_kafka
    wait "$job"
else
    bin/crash "${args[@]}" --brokers "$KAFKA"
fi
