#!/usr/bin/env bash
# What a gateway does whose store is in trouble, under load: minute after minute its commits take a second, its disk is full,
# and somebody else holds the lock of its database, with the end of each trouble between. Loopback only:
# loadtest/hardship.sh [MINUTES]
#
# Without MINUTES it takes ten. It needs Linux, strace and python3, and a user who may make namespaces: the data directory is on a
# small tmpfs that nobody else sees. Exit code 0 if nothing was answered but what was promised, every recovery came without
# a restart, memory grew by no more than 20 % after the first minute, and the log verifies.
set -euo pipefail

if [ "${KEEPTRUSTS_HARDSHIP:-}" != inside ]; then
    export KEEPTRUSTS_HARDSHIP=inside
    [ "$(id -u)" = 0 ] && exec unshare --mount "$0" "$@"
    exec unshare --map-root-user --mount "$0" "$@"
fi

# shellcheck source=loadtest/lib.sh
source "$(dirname "$0")/lib.sh"

minutes=${1:-10}
for tool in strace python3 curl; do command -v "$tool" >/dev/null || { say "$tool is missing"; exit 2; }; done
build
mkdir "$work/gateway"
mount -t tmpfs -o size=192m,mode=700 none "$work/gateway"
trap 'status=$?; set +e; umount --lazy "$work/gateway"; (exit $status); finish' EXIT
failures=0
fail() {
    say "FAILED: $*"
    failures=$((failures + 1))
}

start_mock --tokens 100000 --interval 0ms --first 0ms
start_gateway gateway loadtest/conf/hardship.yaml
key=$(make_key gateway load)
edge="http://127.0.0.1:$gateway_port/v1/chat/completions"
# The threads that write and sync the event log.
mapfile -t ledger < <(grep -lx 'ledger\(-sync\)\?' /proc/"$gateway_pid"/task/*/comm | cut -d/ -f5)

# ask: a request's status and the code of its refusal.
ask() {
    curl --silent --max-time 20 --output "$work/answer" --write-out '%{http_code}' "$edge" \
        --header "authorization: Bearer $key" --header 'content-type: application/json' \
        --data '{"model":"gpt-4o-mini","max_tokens":5,"messages":[{"role":"user","content":"Say something."}]}' || true
    sed -n 's/.*"code":"\([a-z_]*\)".*/ \1/p' "$work/answer" 2>/dev/null || true
}

memory() { "$load" memory "$gateway_pid"; }

# metric NAME: the sum of its series.
metric() {
    curl --silent "http://127.0.0.1:$gateway_metrics/metrics" | awk -v name="$1" 'index($0, name) == 1 { sum += $NF } END { print sum + 0 }'
}

# trouble NAME SECONDS ANSWERS: lets a trouble last, looks at answers and memory meanwhile.
trouble() {
    local name=$1 end=$((SECONDS + $2)) answers=$3 answer now
    while [ $SECONDS -lt $end ]; do
        answer=$(ask)
        grep -qxE "$answers" <<<"$answer" || fail "$name: a request was answered $answer"
        seen[$name:$answer]=$((${seen[$name:$answer]:-0} + 1))
        now=$(memory)
        [ "$now" -gt "$peak" ] && peak=$now
        sleep 0.5
    done
}

# recover NAME: a request is answered again, and soon.
recover() {
    local begun=$SECONDS
    until [ "$(ask)" = 200 ]; do
        kill -0 "$gateway_pid" || { fail "$1: the gateway is gone"; exit 1; }
        [ $((SECONDS - begun)) -lt 15 ] || { fail "$1: no recovery within 15 s"; return; }
        sleep 0.1
    done
    recoveries=$((recoveries + 1))
}

declare -A seen
recoveries=0
peaks=()
before=$(memory)
start load "$load" requests --target hardship --scenario hardship --to "127.0.0.1:$gateway_port" --key "$key" \
    --connections 64 --tokens 5 --seconds $((minutes * 62 + 30))
load_pid=$pid

for minute in $(seq "$minutes"); do
    peak=0
    # The ledger's every write and sync takes a second.
    start "slow$minute" strace -qq "${ledger[@]/#/--attach=}" -e trace=pwrite64,fdatasync -e inject=pwrite64,fdatasync:delay_enter=1000000
    slow=$pid
    trouble slow 18 '200|503 audit_unavailable'
    kill -INT "$slow" && wait "$slow" || true
    recover slow

    dd if=/dev/zero of="$gateway_data/ballast" bs=64k 2>/dev/null || true
    trouble full 18 '200|503 audit_unavailable'
    rm "$gateway_data/ballast"
    recover full

    start "lock$minute" python3 -c '
import sqlite3, sys, time
databases = [sqlite3.connect(path, isolation_level=None, timeout=20) for path in sys.argv[2:]]
for database in databases:
    database.execute("BEGIN EXCLUSIVE")
open(sys.argv[1], "w").close()
time.sleep(13)
' "$work/locked" "$gateway_data/keeptrusts.db" "$gateway_data/usage.db"
    locked=$pid
    for _ in $(seq 200); do [ -e "$work/locked" ] && break; sleep 0.05; done
    rm "$work/locked"
    told=$("$kt" keys create --data-dir "$gateway_data" --name "during-$minute" 2>&1 >/dev/null) && fail "locked: a key was made" || true
    trouble locked 8 200
    wait "$locked" || true
    recover locked
    "$kt" keys create --data-dir "$gateway_data" --name "after-$minute" >/dev/null || fail "locked: no key can be made afterwards"
    peaks+=("$peak")
    say "minute $minute: at most $peak KiB"
done

kill -TERM "$load_pid" && wait "$load_pid" || true
refused=$(metric 'keeptrusts_refusals_total{')
unavailable=$(curl --silent "http://127.0.0.1:$gateway_metrics/metrics" |
    awk '/^keeptrusts_refusals_total{.*code="audit_unavailable"/ { sum += $NF } END { print sum + 0 }')
[ "$refused" = "$unavailable" ] || fail "of $refused refusals only $unavailable are audit_unavailable"
# Refusals themselves have no place in a full journal.
dropped=$(metric keeptrusts_journal_dropped_total)
[ "$dropped" -le "$unavailable" ] || fail "$dropped records were given up, more than the $unavailable of refusals"
for _ in $(seq 100); do
    [ "$(metric keeptrusts_journal_queue_depth)" = 0 ] && break
    sleep 0.1
done
answered=$(metric 'keeptrusts_requests_total{')
verified=$("$kt" events verify --data-dir "$gateway_data") || fail "the log does not verify: $verified"
# Every request that was served has both of its events, every refusal that found a place has one.
tip=$(sed -n 's/.* to \([0-9]*\)) are as they were written.*/\1/p' <<<"$verified")
one=$((unavailable - dropped))
[ "$tip" = $((2 * (answered - one) + one)) ] || fail "$answered requests, $one of them refused, but $tip events"
panics=$(grep -c panicked "$work/gateway.log" || true)
[ "$panics" = 0 ] || fail "the gateway panicked $panics times"

lowest=$(printf '%s\n' "${peaks[@]}" | sort -n | head -1)
highest=$(printf '%s\n' "${peaks[@]}" | sort -n | tail -1)
[ $((highest * 100)) -le $((peaks[0] * 120)) ] || fail "memory grows: ${peaks[0]} KiB in the first minute, then $highest"
mkdir -p "$results"
{
    echo "minutes $minutes, requests counted $answered, refused audit_unavailable $unavailable, recoveries $recoveries"
    for name in "${!seen[@]}"; do echo "answer $name ${seen[$name]} times"; done | sort
    echo "a key asked for while the database was locked: $told"
    echo "memory KiB: $before before, each minute's highest $lowest to $highest (${peaks[*]})"
    echo "$verified"
    grep -vc INFO "$work/gateway.log" | sed 's/^/lines of warnings and errors in the log: /'
} | tee "$results/hardship.txt"
cp "$work/gateway.log" "$results/hardship.log"
[ "$failures" = 0 ]
