# Sourced by scripts that need a server: start_server and stop_server.
# Sets ENDPOINT. The server's log goes to the file that start_server is given.

# start_server LOG [FLAG...] starts bin/summerbeam on a free loopback port and
# waits until it accepts connections.
start_server() {
    local log=$1 port
    shift
    port=$(free_port)
    ENDPOINT=127.0.0.1:$port
    bin/summerbeam serve --port="$port" "$@" >"$log" 2>&1 &
    SERVER_PID=$!
    trap stop_server EXIT
    local i
    for i in $(seq 100); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return 0
        fi
        if ! kill -0 "$SERVER_PID" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    echo "the server did not start; its log:" >&2
    cat "$log" >&2
    return 1
}

# stop_server ends the server that start_server has started, if any.
stop_server() {
    if [ -n "${SERVER_PID:-}" ]; then
        kill "$SERVER_PID" 2>/dev/null || true
        wait "$SERVER_PID" 2>/dev/null || true
        SERVER_PID=
    fi
}

# free_port prints a loopback port that nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}
