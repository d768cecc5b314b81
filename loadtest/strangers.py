#!/usr/bin/env python3
"""A million keys nobody issued, and whether the time of a refusal tells anything about a key.

    loadtest/strangers.py [--kt target/release/kt] [--keys 1000000]

First, unknown keys of the right form by the hundred on four connections: what they cost in memory, log lines and
bytes in the data directory. Then, on one connection, five kinds of keys in random order (two of unknown ones; unknown ones
that begin like a live one, and like one that nobody has; a revoked one): the median time of each kind and Welch's t
between them, below which there is nothing to see if it stays within 4.5 (the usual bound of leakage tests). Loopback only;
minutes. Needs Python 3.11 and nothing else.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONFIG = """version: 1
listen: {edge: "127.0.0.1:0", admin: "127.0.0.1:0", metrics: "127.0.0.1:0"}
providers:
  openai: {kind: openai, base_url: "http://127.0.0.1:9", api_key: {env: STRANGERS_KEY}}
access: {failures_per_minute: 100000}
"""


def key(begins="kt_ak_"):
    signed = begins + "".join(random.choice(ALPHABET) for _ in range(32 - len(begins)))
    rest, written = zlib.crc32(signed.encode()), ""
    for _ in range(6):
        written = ALPHABET[rest % 62] + written
        rest //= 62
    return signed + written


def ask(text):
    return f"GET /v1/models HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {text}\r\n\r\n".encode()


def answers(connection, count, buffer):
    """Reads so many answers, by their lengths."""
    while count:
        end = buffer.find(b"\r\n\r\n")
        if end >= 0:
            head = bytes(buffer[:end]).lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(buffer) >= end + 4 + length:
                status = bytes(head[9:12])
                assert status in (b"401", b"429"), bytes(buffer[:end])
                del buffer[: end + 4 + length]
                count -= 1
                continue
        piece = connection.recv(1 << 16)
        assert piece, "the gateway closed"
        buffer += piece


def flood(port, count):
    connection, buffer = socket.create_connection(("127.0.0.1", port)), bytearray()
    for _ in range(count // 100):
        connection.sendall(b"".join(ask(key()) for _ in range(100)))
        answers(connection, 100, buffer)


def resident(process):
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def size(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def lines(path):
    with open(path) as file:
        return len(file.readlines())


def timings(port, kinds, count):
    connection, buffer = socket.create_connection(("127.0.0.1", port)), bytearray()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    took = {kind: [] for kind in kinds}
    # Made beforehand: what it costs to make a key must not show in how quickly it is sent.
    requests = [(kind, ask(kinds[kind]())) for kind in random.choices(list(kinds), k=count)]
    for kind, request in requests:
        begun = time.perf_counter_ns()
        connection.sendall(request)
        answers(connection, 1, buffer)
        took[kind].append((time.perf_counter_ns() - begun) / 1000)
    # The slowest twentieth is the machine's, not the gateway's.
    return {kind: sorted(times)[: len(times) * 95 // 100] for kind, times in took.items()}


def welch(a, b):
    return (statistics.mean(a) - statistics.mean(b)) / (
        statistics.variance(a) / len(a) + statistics.variance(b) / len(b)
    ) ** 0.5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kt", default="target/release/kt")
    parser.add_argument("--keys", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, log, data = (os.path.join(folder, name) for name in ("kt.yaml", "log", "data"))
        with open(config, "w") as file:
            file.write(CONFIG)
        with open(log, "w") as file:
            gateway = subprocess.Popen(
                [given.kt, "gateway", "run", "--config", config, "--data-dir", data],
                env=dict(os.environ, STRANGERS_KEY="made-up"),
                stderr=file,
            )
        try:
            for _ in range(100):
                time.sleep(0.1)
                with open(log) as file:
                    text = file.read()
                if "edge listens on" in text:
                    break
            port = int(text.split("edge listens on 127.0.0.1:")[1].split(",")[0])
            office = lambda *command: subprocess.run(
                [given.kt, *command, "--data-dir", data], capture_output=True, check=True
            ).stdout
            live = json.loads(office("keys", "create", "--name", "live", "--json"))["key"]
            revoked = json.loads(office("keys", "create", "--name", "revoked", "--json"))["key"]
            office("keys", "revoke", "revoked")
            flood(port, 10_000)
            time.sleep(1)
            before, begun = (resident(gateway), lines(log), size(data)), time.monotonic()
            threads = [threading.Thread(target=flood, args=(port, given.keys // 4)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took = time.monotonic() - begun
            time.sleep(1)
            after = (resident(gateway), lines(log), size(data))
            print(f"{given.keys} unknown keys in {took:.0f} s ({given.keys / took:.0f}/s)")
            for what, was, is_now in zip(("resident bytes", "log lines", "bytes of data"), before, after):
                print(f"  {what}: {was} before, {is_now} after")
            # A text that begins the same each time is checked a little faster than one that does not, whatever it is: so
            # what begins like a live key is held against what begins like none.
            nobodys = key()
            kinds = {
                "begins like a live key": lambda: key(live[:20]),
                "begins like no key": lambda: key(nobodys[:20]),
                "unknown": key,
                "unknown as well": key,
                "revoked": lambda: revoked,
            }
            times = timings(port, kinds, 100_000)
            for kind, found in times.items():
                print(f"{kind}: median {statistics.median(found):.1f} µs, mean {statistics.mean(found):.2f} µs")
            for kind, other in [
                ("begins like a live key", "begins like no key"),
                ("begins like no key", "unknown"),
                ("unknown as well", "unknown"),
                ("revoked", "unknown"),
            ]:
                print(f"{kind} against {other}: t = {welch(times[kind], times[other]):.2f}")
        finally:
            gateway.terminate()
            gateway.wait(30)


if __name__ == "__main__":
    main()
