#!/usr/bin/env bash
# Runs bin/kafkacounts from Kafka to Kafka on several runners, chosen by flags alone.
#
#   tools/kafka/runners.sh [flags of bin/kafkarunners]
#
# With Java and Maven the broker is a real one, and Flink's portable runner is among the runners.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/kafka/broker.sh

if ! have_kafka; then
    echo "Java and Maven are not here: a fake broker takes the real one's place, and Flink is left out."
    exec bin/kafkarunners "$@"
fi
bench/flink/jars.sh .cache/bench/flink
make_kafka .cache/kafka/runners-broker
start_kafka
trap kill_kafka EXIT
bin/kafkarunners --brokers "$KAFKA" --runners embedded,served,prism-inprocess,flink "$@"
