"""A gateway that a script starts for itself: on ports of its own, in a folder that goes with it."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time

LISTEN = 'version: 1\nlisten: {edge: "127.0.0.1:0", admin: "127.0.0.1:0", metrics: "127.0.0.1:0"}\n'
PROVIDER = 'providers:\n  openai: {{kind: openai, base_url: "http://127.0.0.1:{port}", api_key: {{env: STARTED_KEY}}}}\n'


class Gateway:
    """One that runs, and its office."""

    def __init__(self, kt, process, log, data):
        self.kt, self.process, self.log, self.data = kt, process, log, data
        for _ in range(100):
            time.sleep(0.1)
            with open(log) as file:
                text = file.read()
            if "edge listens on" in text:
                break
        self.edge = int(text.split("edge listens on 127.0.0.1:")[1].split(",")[0])
        self.metrics = int(text.split("metrics on 127.0.0.1:")[1].split()[0])

    def office(self, *command):
        command = [self.kt, *command, "--data-dir", self.data]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def key(self, name):
        return json.loads(self.office("keys", "create", "--name", name, "--json"))["key"]

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    def log_lines(self):
        with open(self.log) as file:
            return len(file.readlines())


@contextlib.contextmanager
def gateway(kt, provider, settings=""):
    """Runs until the block ends. `provider` is the port of the one it has."""
    with tempfile.TemporaryDirectory() as folder:
        config, log, data = (os.path.join(folder, name) for name in ("kt.yaml", "log", "data"))
        with open(config, "w") as file:
            file.write(LISTEN + PROVIDER.format(port=provider) + settings)
        with open(log, "w") as file:
            command = [kt, "gateway", "run", "--config", config, "--data-dir", data]
            process = subprocess.Popen(command, env=dict(os.environ, STARTED_KEY="made-up"), stderr=file)
        with ended(process):
            yield Gateway(kt, process, log, data)


@contextlib.contextmanager
def mock_provider(kt, tokens=16):
    """Its port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [kt, "mock-provider", "--listen", f"127.0.0.1:{port}", "--tokens", str(tokens)]
    with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
        yield port


@contextlib.contextmanager
def ended(process):
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
