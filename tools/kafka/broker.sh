# Functions to run a real Kafka broker of one node on loopback; to be sourced.
#
#   make_kafka DIR    gets Kafka's jars, once, and formats DIR for a broker: sets KAFKA
#   start_kafka       starts it and waits until it listens: sets KAFKA_PID
#   kill_kafka        kills it with kill -9; it can be started again

KAFKA_JARS=$PWD/.cache/kafka/jars

have_kafka() { command -v java >/dev/null && command -v mvn >/dev/null; }

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_kafka() {
    KAFKA_DIR=$(realpath -m "$1")
    if [ ! -e "$KAFKA_JARS/complete" ]; then
        echo "Getting Kafka's jars with Maven, once ..." >&2
        mkdir -p "$KAFKA_JARS"
        mvn -q -B -f tools/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$KAFKA_JARS"
        touch "$KAFKA_JARS/complete"
    fi
    rm -rf "$KAFKA_DIR"
    mkdir -p "$KAFKA_DIR"
    local port controller
    port=$(free_port)
    controller=$(free_port)
    KAFKA=127.0.0.1:$port
    cat >"$KAFKA_DIR/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$KAFKA_DIR/logs
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
EOF
    local id
    id=$(java -cp "$KAFKA_JARS/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
    java -cp "$KAFKA_JARS/*" kafka.tools.StorageTool format -t "$id" -c "$KAFKA_DIR/server.properties" >"$KAFKA_DIR/format.log" 2>&1
}

start_kafka() {
    java -Xmx512m -cp "$KAFKA_JARS/*" kafka.Kafka "$KAFKA_DIR/server.properties" >>"$KAFKA_DIR/broker.log" 2>&1 &
    KAFKA_PID=$!
    local i
    for ((i = 0; i < 300; i++)); do
        if (exec 3<>"/dev/tcp/${KAFKA%:*}/${KAFKA#*:}") 2>/dev/null; then
            return
        fi
        kill -0 "$KAFKA_PID" 2>/dev/null || break
        sleep 0.1
    done
    echo "the Kafka broker does not listen on $KAFKA:" >&2
    tail -n 20 "$KAFKA_DIR/broker.log" >&2
    return 1
}

kill_kafka() {
    kill -9 "$KAFKA_PID" 2>/dev/null || true
    wait "$KAFKA_PID" 2>/dev/null || true
}
