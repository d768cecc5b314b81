#!/usr/bin/env python3
"""Ten thousand slow clients at once: heads and bodies that drip, and readers that hardly read.

    loadtest/slow_sockets.py [--kt target/release/kt] [--sockets 10000] [--readers 100]

Starts a mock provider and a gateway of its own, with the default deadlines (head 10 s, body 60 s, write 60 s), keeps a
good client asking all the while, and prints when the slow ones were closed, what each cost in memory, and what the good
client noticed. Loopback only; three minutes. Needs Python 3.11 and nothing else.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor

CONFIG = """version: 1
listen: {{edge: "127.0.0.1:0", admin: "127.0.0.1:0", metrics: "127.0.0.1:0"}}
providers:
  openai: {{kind: openai, base_url: "http://127.0.0.1:{mock}", api_key: {{env: SLOW_KEY}}}}
"""
BODY = json.dumps({"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello."}]}).encode()
STREAM = json.dumps({"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello."}]}).encode()


def head(key, length):
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def resident(process):
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


async def connect(port, small=False):
    connection = socket.socket()
    connection.setblocking(False)
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


async def closed_after(connection, first, drip, interval=10.0):
    """Sends `first`, then a byte of `drip` every ten seconds; how long until the gateway closed."""
    loop, begun = asyncio.get_running_loop(), None

    async def watch():
        try:
            while await loop.sock_recv(connection, 4096):
                pass
        except OSError:
            pass

    async def send():
        nonlocal begun
        try:
            begun = time.monotonic()
            await loop.sock_sendall(connection, first)
            # Not all at once, which would be one burst of this program's.
            await asyncio.sleep(random.uniform(0, interval))
            for byte in drip:
                await asyncio.sleep(interval)
                await loop.sock_sendall(connection, bytes([byte]))
        except OSError:
            pass

    sending = asyncio.ensure_future(send())
    try:
        await asyncio.wait_for(watch(), 150)
    except asyncio.TimeoutError:
        return None
    finally:
        sending.cancel()
        connection.close()
    return time.monotonic() - begun


async def reads_slowly(connection, key, interval=10.0):
    """Asks for a long stream and takes a byte every ten seconds."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(connection, head(key, len(STREAM)) + STREAM)
        while True:
            await asyncio.sleep(interval)
            await loop.sock_recv(connection, 1)
    except OSError:
        pass


def active(metrics):
    """The gateway's own word: the kernel keeps a closed connection open for whoever has not read what was sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return int(next(float(line.split()[-1]) for line in lines if line.startswith("keeptrusts_requests_active")))


async def asks_well(port, key, seconds):
    """Asks fifty times a second on one connection; how long each answer took, in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        writer.write(head(key, len(BODY)) + BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = next(int(line.split(b":")[1]) for line in answer.splitlines() if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        took.append((time.monotonic() - begun) * 1000)
        await asyncio.sleep(max(0, 0.02 - (time.monotonic() - begun)))
    writer.close()
    return took


def shown(took):
    took = sorted(took)
    return f"p50 {statistics.median(took):.2f} ms, p99 {took[int(len(took) * 0.99)]:.2f} ms of {len(took)}"


def spread(name, deadline, times):
    kept = sum(1 for took in times if took is None)
    ended = [took for took in times if took is not None]
    if ended:
        print(f"{name}: {len(ended)} closed after {min(ended):.1f} to {max(ended):.1f} s (deadline {deadline} s), {kept} kept")
    else:
        print(f"{name}: none closed, {kept} kept")


def well(port, key, seconds):
    return asyncio.run(asks_well(port, key, seconds))


async def measure(port, metrics, key, process, sockets, readers, apart):
    # In a process of its own, so that it waits for nothing of the slow ones' but the gateway.
    ask = lambda seconds: asyncio.get_running_loop().run_in_executor(apart, well, port, key, seconds)
    before = await ask(10)
    print(f"good client alone: {shown(before)}")
    # One kind after the other, so that each one's memory is its own.
    for name, deadline, first, drip in [
        ("heads that drip", 10, b"POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nX: ", b"a" * 100),
        ("bodies that drip", 60, head(key, 100_000), b"a" * 100),
    ]:
        empty = resident(process)
        connections = []
        for _ in range(sockets):
            connections.append(await connect(port))
        slow = [asyncio.ensure_future(closed_after(connection, first, drip)) for connection in connections]
        await asyncio.sleep(4)
        each = (resident(process) - empty) / sockets / 1024
        meanwhile = await ask(5 if deadline < 20 else 30)
        spread(name, deadline, await asyncio.gather(*slow))
        print(f"{name}: {each:.1f} KiB each; good client meanwhile: {shown(meanwhile)}")
    empty, begun = resident(process), time.monotonic()
    connections = [await connect(port, small=True) for _ in range(readers)]
    slow = [asyncio.ensure_future(reads_slowly(connection, key)) for connection in connections]
    await asyncio.sleep(15)
    each = (resident(process) - empty) / max(readers, 1) / 1024
    most, ended = active(metrics), []
    while len(ended) < most and time.monotonic() - begun < 150:
        await asyncio.sleep(0.2)
        ended += [time.monotonic() - begun] * (most - len(ended) - active(metrics))
    for task in slow:
        task.cancel()
    spread("slow readers", 60, ended + [None] * (most - len(ended)))
    print(f"slow readers: {each:.1f} KiB each")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kt", default="target/release/kt")
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=100)
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    environment = dict(os.environ, SLOW_KEY="made-up")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mock_port = free.getsockname()[1]
        free.close()
        mock = subprocess.Popen(
            [given.kt, "mock-provider", "--listen", f"127.0.0.1:{mock_port}", "--tokens", "200000"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        config, log = os.path.join(folder, "kt.yaml"), os.path.join(folder, "log")
        with open(config, "w") as file:
            file.write(CONFIG.format(mock=mock_port))
        with open(log, "w") as file:
            gateway = subprocess.Popen(
                [given.kt, "gateway", "run", "--config", config, "--data-dir", os.path.join(folder, "data")],
                env=environment,
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
            metrics = int(text.split("metrics on 127.0.0.1:")[1].split()[0])
            made = subprocess.run(
                [given.kt, "keys", "create", "--name", "slow", "--json", "--data-dir", os.path.join(folder, "data")],
                capture_output=True,
                check=True,
            )
            key = json.loads(made.stdout)["key"]
            with ProcessPoolExecutor(1) as apart:
                asyncio.run(measure(port, metrics, key, gateway, given.sockets, given.readers, apart))
            with open(log) as file:
                print(f"the gateway's log: {len(file.readlines())} lines")
        finally:
            gateway.terminate()
            mock.terminate()
            gateway.wait(30)
            mock.wait(30)


if __name__ == "__main__":
    main()
