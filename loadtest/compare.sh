#!/usr/bin/env bash
# Puts the gateway beside a bare Pingora proxy, nginx, HAProxy and Envoy, and the mock provider directly: same machine,
# same minutes, alternating. Writes one table of medians. docs/PERFORMANCE.md says what the figures mean.
#
#   loadtest/compare.sh [--rounds N] [--seconds S] [--targets "bare governed …"] [--scenarios "one many …"]
#
# nginx and HAProxy are taken from the PATH and Envoy from ENVOY or the PATH; those that are missing are left out.
set -euo pipefail
# shellcheck source=loadtest/lib.sh
source "$(dirname "$0")/lib.sh"

rounds=5 seconds=2
targets="direct bare ungoverned governed nginx haproxy envoy"
# Streams come first: what they take is seen in processes that have done nothing else yet.
scenarios="streams one many large"
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --targets) targets=$2 ;;
        --scenarios) scenarios=$2 ;;
        *) say "unknown option $1"; exit 2 ;;
    esac
    shift 2
done
ENVOY=${ENVOY:-envoy}
conf=loadtest/conf
declare -A port pids key
build
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

# rival NAME COMMAND…: @PORT@ and @MOCK_PORT@ in its configuration are filled in first.
rival() {
    local name=$1 source=$2
    shift 2
    port[$name]=$(free_ports 1)
    sed "s|@PORT@|${port[$name]}|g; s|@MOCK_PORT@|$mock_port|g; s|@WORK@|$work|g; s|@CORES@|$(nproc)|g" \
        "$conf/$source" >"$work/$source"
    start "$name" "$@" "$work/$source"
    pids[$name]=$pid
    await "${port[$name]}"
}

# Streams are paced by the provider: an event every 50 ms.
start_mock --tokens 100000 --interval 50ms
found=()
for target in $targets; do
    case $target in
        direct) port[direct]=$mock_port pids[direct]=$mock_pid ;;
        bare)
            port[bare]=$(free_ports 1)
            start bare "$bare" "127.0.0.1:${port[bare]}" "127.0.0.1:$mock_port"
            pids[bare]=$pid
            await "${port[bare]}"
            ;;
        governed | ungoverned)
            start_gateway "$target" "$conf/$target.yaml"
            declare -n its_port=${target}_port
            port[$target]=$its_port pids[$target]=$pid
            # shellcheck disable=SC1090
            source "$conf/$target.sh"
            ;;
        nginx) command -v nginx >/dev/null || continue; rival nginx nginx.conf nginx -c ;;
        haproxy) command -v haproxy >/dev/null || continue; rival haproxy haproxy.cfg haproxy -f ;;
        envoy) command -v "$ENVOY" >/dev/null || continue
            rival envoy envoy.yaml "$ENVOY" --concurrency "$(nproc)" --base-id $((RANDOM % 30000)) -l error -c ;;
        *) say "unknown target $target"; exit 2 ;;
    esac
    found+=("$target")
done

out=$results/compare.jsonl
: >"$out"
sleep 1
for target in "${found[@]}"; do
    printf '{"target":"%s","scenario":"idle","memory_kib":%s}\n' "$target" "$("$load" memory "${pids[$target]}")" >>"$out"
done

measure() {
    local target=$1 scenario=$2 command=$3
    shift 3
    KEY=${key[$target]:-sk-load} "$load" "$command" --target "$target" --scenario "$scenario" \
        --to "127.0.0.1:${port[$target]}" --pid "${pids[$target]}" --seconds "$seconds" "$@" >>"$out"
}

for round in $(seq "$rounds"); do
    say "round $round of $rounds"
    for scenario in $scenarios; do
        for target in "${found[@]}"; do
            case $scenario in
                one) measure "$target" one requests --connections 1 ;;
                many) measure "$target" many requests --connections 64 ;;
                large) measure "$target" large requests --connections 64 --prompt 200000 ;;
                streams) measure "$target" streams streams --streams 500 --tokens 60 --warmup 2 ;;
            esac
        done
    done
done
"$load" table "$out" | tee "$results/compare.md"
