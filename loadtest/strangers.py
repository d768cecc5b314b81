#!/usr/bin/env python3
"""A million keys nobody issued, and whether the time of a refusal tells anything about a key.

    loadtest/strangers.py [--kt target/release/kt] [--keys 1000000]

First, unknown keys of the right form by the hundred on four connections: what they cost in memory, log lines and
bytes in the data directory. Then, on one connection, six kinds of keys in random order (three of unknown ones, one of
them always the same; unknown ones that begin like a live one, and like one that nobody has; a revoked one): the median
time of each kind and Welch's t between them, below which there is nothing to see if it stays within 4.5 (the usual bound
of leakage tests). Loopback only; minutes. Needs Python 3.11 and nothing else.
"""

import argparse
import os
import random
import socket
import statistics
import threading
import time
import zlib

import started

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SETTINGS = "access: {failures_per_minute: 100000}\n"


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


def size(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


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


def load(gateway, count):
    """What so many unknown keys cost."""
    flood(gateway.edge, 10_000)
    time.sleep(1)
    stands = lambda: (gateway.resident(), gateway.log_lines(), size(gateway.data))
    before, begun = stands(), time.monotonic()
    threads = [threading.Thread(target=flood, args=(gateway.edge, count // 4)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    time.sleep(1)
    print(f"{count} unknown keys in {took:.0f} s ({count / took:.0f}/s)")
    for what, was, is_now in zip(("resident bytes", "log lines", "bytes of data"), before, stands()):
        print(f"  {what}: {was} before, {is_now} after")


def compare(gateway, count):
    """Whether the time of a refusal tells anything about the key."""
    live, revoked = gateway.key("live"), gateway.key("revoked")
    gateway.office("keys", "revoke", "revoked")
    # A text that begins the same each time is checked a little faster than one that does not, whatever it is: so
    # what begins like a live key is held against what begins like none, and one text that was revoked against one that
    # nobody ever had.
    nobodys = key()
    kinds = {
        "begins like a live key": lambda: key(live[:20]),
        "begins like no key": lambda: key(nobodys[:20]),
        "unknown": key,
        "unknown as well": key,
        "unknown, always the same": lambda: nobodys,
        "revoked": lambda: revoked,
    }
    times = timings(gateway.edge, kinds, count)
    for kind, found in times.items():
        print(f"{kind}: median {statistics.median(found):.2f} µs, mean {statistics.mean(found):.2f} µs")
    for kind, other in [
        ("begins like a live key", "begins like no key"),
        ("begins like no key", "unknown"),
        ("unknown as well", "unknown"),
        ("revoked", "unknown, always the same"),
    ]:
        print(f"{kind} against {other}: t = {welch(times[kind], times[other]):.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kt", default="target/release/kt")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--timings", type=int, default=100_000)
    given = parser.parse_args()
    # Nothing of it is asked of a provider.
    with started.gateway(given.kt, 9, SETTINGS) as gateway:
        if given.keys:
            load(gateway, given.keys)
        compare(gateway, given.timings)


if __name__ == "__main__":
    main()
