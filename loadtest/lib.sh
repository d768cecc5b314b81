# Shared by run.sh and compare.sh: builds, starts what is measured on loopback, and stops what it started.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where everything that is made goes; what a run started is stopped when it ends, however it ends.
work=$(mktemp -d "${TMPDIR:-/tmp}/keeptrusts-load.XXXXXX")
results=target/loadtest
mkdir -p "$results"
started=()

finish() {
    local status=$?
    for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    if [ $status -eq 0 ] || [ -z "$(ls "$work"/*.log 2>/dev/null)" ]; then
        rm -rf "$work"
    else
        echo "the logs of what failed are in $work" >&2
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }

# The release build, or the binaries that KT_BIN names the folder of.
build() {
    bin=${KT_BIN:-target/release}
    if [ -z "${KT_BIN:-}" ]; then
        scripts/prepare
        cargo build --quiet --release --locked --bin kt --example load --example bare_proxy
    fi
    kt=$bin/kt load=$bin/examples/load bare=$bin/examples/bare_proxy
}

# free_ports N: prints N free ports.
free_ports() { "$load" ports "$1"; }

# start NAME COMMAND…: runs it in the background; its process id is in $pid, its output in $work/NAME.log.
start() {
    local name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 &
    pid=$!
    started+=("$pid")
}

# await PORT: until something listens there.
await() {
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.05
    done
    say "nothing listens on port $1"
    return 1
}

# start_mock ARGUMENTS…: a mock provider; its port is in $mock_port, its process id in $mock_pid.
start_mock() {
    mock_port=$(free_ports 1)
    start mock "$kt" mock-provider --listen "127.0.0.1:$mock_port" "$@"
    mock_pid=$pid
    await "$mock_port"
}

# start_gateway NAME CONFIG: a gateway before the mock provider, in a data directory of its own. Sets
# ${NAME}_port, ${NAME}_admin, ${NAME}_metrics, ${NAME}_pid and ${NAME}_data.
start_gateway() {
    local name=$1 config=$2 ports
    mapfile -t ports < <(free_ports 3)
    sed "s|@MOCK@|http://127.0.0.1:$mock_port|" "$config" >"$work/$name.yaml"
    MOCK_KEY=sk-load start "$name" "$kt" gateway run --config "$work/$name.yaml" --data-dir "$work/$name" \
        --listen "127.0.0.1:${ports[0]}" --admin-listen "127.0.0.1:${ports[1]}" --metrics-listen "127.0.0.1:${ports[2]}"
    printf -v "${name}_port" %s "${ports[0]}"
    printf -v "${name}_admin" %s "${ports[1]}"
    printf -v "${name}_metrics" %s "${ports[2]}"
    printf -v "${name}_pid" %s "$pid"
    printf -v "${name}_data" %s "$work/$name"
    await "${ports[0]}"
    for _ in $(seq 200); do [ -S "$work/$name/admin.sock" ] && return; sleep 0.05; done
    say "the gateway $name does not start"
    return 1
}

# make_key NAME KEY-NAME OPTIONS…: an access key of that gateway; prints its text.
make_key() {
    local data="$work/$1" name=$2
    shift 2
    "$kt" keys create --data-dir "$data" --name "$name" --json "$@" | sed -n 's/.*"key": *"\(kt_ak_[0-9A-Za-z]*\)".*/\1/p'
}
