#!/usr/bin/env python3
"""Ten thousand slow clients at once: heads and bodies that drip, and readers that hardly read.

    loadtest/slow_sockets.py [--kt target/release/kt] [--sockets 10000] [--readers 200] [--rounds 3] [--only heads]

Starts a mock provider and a gateway of its own, with the default deadlines (head 10 s, body 60 s, write 60 s), and for
each kind of slow client: what a good load notices (400 requests a second on eight connections), in turns beside so many
connections that do nothing wrong, opened and closed at the same pace; what each takes of the gateway's memory; and when
they were closed. Loopback only; eight minutes. Needs Python 3.11 and `cargo build --release --bin kt --example load`.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import time
import urllib.request

import started

# Seconds over which the connections are opened, and for which a good load is watched from then on.
OPENING = 8
WATCHED = 20
HEAD, BODY, WRITE = 10, 60, 60


class Load:
    """The load client, beside `kt`."""

    def __init__(self, kt, gateway):
        self.command = os.path.join(os.path.dirname(kt), "examples", "load")
        self.gateway, self.key = gateway, gateway.key("load")

    def begin(self, *arguments):
        to = ["--to", f"127.0.0.1:{self.gateway.edge}"]
        environment = dict(os.environ, KEY=self.key)
        return subprocess.Popen([self.command, *arguments, *to], env=environment, stdout=subprocess.PIPE)

    def slow(self, kind, sockets, kept, opening=OPENING):
        return self.begin(
            "slow", "--kind", kind, "--sockets", str(sockets), "--opening", str(opening), "--kept", str(kept)
        )

    def steady(self, scenario):
        return self.begin(
            *("steady", "--target", "kt", "--scenario", scenario),
            *("--seconds", str(WATCHED), "--pid", str(self.gateway.process.pid)),
        )


def outcome(process):
    out, _ = process.communicate()
    return json.loads(out)


def beside(load, kind, sockets, deadline):
    """A good load beside them, from their opening to their end or as long as it is watched."""
    steady, slow = load.steady(kind), load.slow(kind, sockets, min(deadline, WATCHED - OPENING))
    steady, slow = outcome(steady), outcome(slow)
    if steady["failed"] or slow["failed"]:
        print(f"  failed: {steady['failed']} good, {slow['failed']} {kind}")
    return steady


def compare(load, kind, sockets, deadline, rounds):
    seen = {"kept": [], kind: []}
    for _ in range(rounds):
        for which in seen:
            seen[which].append(beside(load, which, sockets, deadline))
    middle = lambda which, figure: statistics.median(steady[figure] for steady in seen[which])
    for which in seen:
        p99s = ", ".join(f"{steady['p99_us'] / 1000:.2f}" for steady in seen[which])
        print(
            f"good load beside {sockets} {which}: p50 {middle(which, 'p50_us') / 1000:.2f} ms, "
            f"p99 {middle(which, 'p99_us') / 1000:.2f} ms ({p99s}), CPU {middle(which, 'cpu_share') * 100:.0f} %"
        )
    print(f"{kind} raise p99 by {(middle(kind, 'p99_us') / middle('kept', 'p99_us') - 1) * 100:.1f} %")


def close(load, kind, sockets, deadline):
    """What each takes of a gateway that has had no others, and when they are closed."""
    empty, slow = load.gateway.resident(), load.slow(kind, sockets, deadline + 30)
    # They are all there, and none has been closed yet.
    time.sleep(OPENING + 1)
    print(f"{kind}: {(load.gateway.resident() - empty) / sockets / 1024:.1f} KiB each")
    seen = outcome(slow)
    least, most = seen["closed_least_s"] or 0, seen["closed_most_s"] or 0
    print(f"{kind}: {seen['closed']} closed after {least:.1f} to {most:.1f} s (deadline {deadline} s), {seen['kept']} kept")


def active(gateway):
    """The gateway's own word: the kernel keeps a closed connection open for whoever has not read what was sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.metrics}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return int(next(float(line.split()[-1]) for line in lines if line.startswith("keeptrusts_requests_active")))


def read(load, readers):
    empty, begun = load.gateway.resident(), time.monotonic()
    slow = load.slow("readers", readers, WRITE + 20, opening=0.1)
    time.sleep(15)
    each = (load.gateway.resident() - empty) / readers / 1024
    most, ended = active(load.gateway), []
    while len(ended) < most and time.monotonic() - begun < WRITE + 20:
        time.sleep(0.1)
        ended += [time.monotonic() - begun] * (most - len(ended) - active(load.gateway))
    # All have the same patience, so whose answer began first is given up first.
    after = [end - began for end, began in zip(ended, sorted(outcome(slow)["answered_s"]))]
    when = f"{min(after):.1f} to {max(after):.1f} s" if after else "no time"
    print(f"readers: {len(ended)} of {readers} given up {when} after their answers began (deadline {WRITE} s)")
    print(f"readers: {each:.1f} KiB each")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kt", default="target/release/kt")
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["heads", "bodies", "readers"])
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for kind, deadline in [("heads", HEAD), ("bodies", BODY), ("readers", WRITE)]:
        if given.only not in (None, kind):
            continue
        if kind == "readers":
            with load_on(given.kt, tokens=200_000) as load:
                read(load, given.readers)
            continue
        if given.rounds:
            with load_on(given.kt) as load:
                compare(load, kind, given.sockets, deadline, given.rounds)
        with load_on(given.kt) as load:
            close(load, kind, given.sockets, deadline)
            print(f"the gateway's log: {load.gateway.log_lines()} lines")


@contextlib.contextmanager
def load_on(kt, tokens=16):
    with started.mock_provider(kt, tokens) as port, started.gateway(kt, port) as gateway:
        yield Load(kt, gateway)


if __name__ == "__main__":
    main()
