"""Processes of the real binary, and a tap on the line between the gateway and its provider."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
import urllib.request

KT = os.environ.get("KT") or os.path.join(os.path.dirname(__file__), "../../target/debug/kt")

# Longer than anything here takes on a slow machine.
DEADLINE = 15.0


def wait_for(what, find, deadline=DEADLINE):
    """Polls `find` until it gives something true, and gives that back."""
    end = time.monotonic() + deadline
    while True:
        found = find()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"still waiting for {what} after {deadline} s")
        time.sleep(0.02)


class Process:
    """A running `kt`, whose output is kept in a file."""

    def __init__(self, log, *arguments, environment=None):
        self.name = " ".join(arguments[:2])
        self.log = log
        # Nothing of the environment that could change what is tested, such as a proxy or a provider's key.
        environment = {"PATH": os.environ.get("PATH", ""), **(environment or {})}
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [KT, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
            )

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def find(self, pattern):
        """Waits for a line that matches, as long as the process runs."""

        def find():
            found = re.search(pattern, self.output())
            assert found or self.process.poll() is None, f"{self.name} ended early:\n{self.output()}"
            return found

        return wait_for(f"{pattern} from {self.name}", find)

    def stop(self):
        """Asks it to end, as an operator would, and gives back its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Connection:
    """One connection from the gateway to its provider, as the tap saw it."""

    def __init__(self):
        self.asked = bytearray()
        self.closed_by_gateway = threading.Event()


class Tap:
    """Passes bytes on between the gateway and a mock provider, and remembers what the gateway sent."""

    def __init__(self, address):
        self.address = address
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def find(self, text):
        """The connection on which the gateway sent `text`."""
        found = [connection for connection in self.connections if text.encode() in connection.asked]
        assert len(found) == 1, f"{text!r} went out on {len(found)} connections"
        return found[0]

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                gateway, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection()
            self.connections.append(connection)
            threading.Thread(target=self._pass, args=(connection, gateway), daemon=True).start()

    def _pass(self, connection, gateway):
        with gateway, socket.create_connection(self.address) as provider:
            while True:
                for readable in select.select([gateway, provider], [], [])[0]:
                    try:
                        data = readable.recv(65536)
                    except OSError:
                        data = b""
                    if readable is gateway:
                        connection.asked += data
                        if not data:
                            connection.closed_by_gateway.set()
                            return
                    elif not data:
                        return
                    try:
                        (provider if readable is gateway else gateway).sendall(data)
                    except OSError:
                        if readable is provider:
                            connection.closed_by_gateway.set()
                        return


class Gateway:
    """A gateway on free ports, in front of two mock providers: a quick one and one with long, slow answers."""

    PROVIDER_KEYS = {
        "MOCK_OPENAI_KEY": "sk-upstream-openai-canary",
        "MOCK_ANTHROPIC_KEY": "sk-ant-upstream-canary",
        "MOCK_GEMINI_KEY": "AIza-upstream-canary",
    }

    CONFIG = """
version: 1
organization: acme
gateway: sdk-tests
listen: {{edge: "127.0.0.1:0", admin: "127.0.0.1:0", metrics: "127.0.0.1:0"}}
providers:
  openai: {{kind: openai, base_url: "{quick}/v1", api_key: {{env: MOCK_OPENAI_KEY}}}}
  anthropic: {{kind: anthropic, base_url: "{quick}", api_key: {{env: MOCK_ANTHROPIC_KEY}}}}
  gemini: {{kind: gemini, base_url: "{quick}", api_key: {{env: MOCK_GEMINI_KEY}}}}
  azure: {{kind: azure, base_url: "{quick}", api_key: {{env: MOCK_OPENAI_KEY}}}}
  slow-openai: {{kind: openai, base_url: "{slow}", api_key: {{env: MOCK_OPENAI_KEY}}}}
  slow-anthropic: {{kind: anthropic, base_url: "{slow}", api_key: {{env: MOCK_ANTHROPIC_KEY}}}}
  slow-gemini: {{kind: gemini, base_url: "{slow}", api_key: {{env: MOCK_GEMINI_KEY}}}}
models:
  - {{name: slow-gpt, serves: gpt-4o-mini, providers: [slow-openai]}}
  - {{name: slow-claude, serves: claude-sonnet-5, providers: [slow-anthropic]}}
  - {{name: slow-gemini, serves: gemini-3.8-flash, providers: [slow-gemini]}}
  - {{name: "claude-*", providers: [anthropic]}}
timeouts: {{first_byte: 1s, idle: 1s}}
"""

    def __init__(self, directory):
        self.directory = directory
        self.data_dir = str(directory / "data")
        self.processes = []
        self.taps = []
        self.secrets = list(self.PROVIDER_KEYS.values())

    def start(self):
        self.quick = self._mock("quick")
        slow = self._mock("slow", "--tokens", "5000", "--interval", "10ms")
        self.tap, self.slow_tap = Tap(address_of(self.quick)), Tap(address_of(slow))
        self.taps = [self.tap, self.slow_tap]
        config = self.directory / "kt.yaml"
        config.write_text(self.CONFIG.format(quick=self.tap.base_url, slow=self.slow_tap.base_url))
        self.process = self._start(
            "gateway", "gateway", "run", "--config", str(config), "--data-dir", self.data_dir,
            environment=self.PROVIDER_KEYS,
        )
        address = r"(127\.0\.0\.1:\d+)"
        told = self.process.find(rf"edge listens on {address}, admin API on {address}, metrics on {address}")
        self.edge, self.admin, self.metrics_address = told.groups()
        wait_for("readiness", lambda: get_or_none(f"http://{self.metrics_address}/readyz") is not None)

    @property
    def base_url(self):
        return f"http://{self.edge}"

    def kt(self, *arguments):
        """Runs one command of `kt` against this gateway and gives back what it printed."""
        command = [KT, *arguments, "--data-dir", self.data_dir]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def create_key(self, name, *more):
        key = json.loads(self.kt("keys", "create", "--name", name, *more, "--json"))["key"]
        assert re.fullmatch(r"kt_ak_[0-9A-Za-z]{32}", key)
        self.secrets.append(key)
        return key

    def events(self, **filters):
        """Every event there is, oldest first, or those whose members have these values."""
        listed = self.kt("events", "list", "--limit", "1000000", "--json")
        events = [json.loads(line) for line in listed.splitlines()]
        return [event for event in events if all(event[name] == value for name, value in filters.items())]

    def outcome(self, request_id):
        """The INPUT and the OUTPUT event of one request, once it has ended."""
        return wait_for(f"both events of {request_id}", lambda: self._both(request_id))

    def assert_recorded(self, request_id, **expected):
        """The request has both events, attributed to the key of the tests, and the figures that are expected."""
        given, ended = self.outcome(request_id)
        for event in (given, ended):
            assert (event["key"]["name"], event["team"], event["organization"]) == ("jane-sdk", "frontend", "acme")
        found = {name: ended[name] for name in expected}
        if "usage" in expected:
            found["usage"] = {name: ended["usage"][name] for name in expected["usage"]}
        assert found == expected

    def _both(self, request_id):
        events = self.events(request_id=request_id)
        return events if [event["phase"] for event in events] == ["INPUT", "OUTPUT"] else None

    def metrics(self):
        """Every sample: (name, labels) → value."""
        text = get_or_none(f"http://{self.metrics_address}/metrics")
        samples = {}
        for line in text.splitlines():
            found = re.fullmatch(r"([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)", line)
            if found:
                name, labels, value = found.groups()
                pairs = re.findall(r'(\w+)="([^"]*)"', labels or "")
                samples[name.removeprefix("keeptrusts_"), frozenset(pairs)] = float(value)
        return samples

    def metric(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, had), value in self.metrics().items() if found == name and wanted <= had)

    def close_books(self):
        """What must be true of every gateway once its requests have ended, whatever the tests did with it."""
        wait_for("the last request to end", lambda: self.metric("requests_active") == 0)
        wait_for("the journal to be written", lambda: self.metric("journal_queue_depth") == 0)
        events = self.events()
        assert events, "no request was recorded"
        by_request = {}
        for event in events:
            by_request.setdefault(event["request_id"], []).append(event)
        for request_id, both in by_request.items():
            phases = [event["phase"] for event in both]
            expected = ["INPUT", "OUTPUT"] if both[0]["verdict"] == "PASS" else ["INPUT"]
            assert phases == expected, f"{request_id} has {phases}: {both}"

        ended = [event for event in events if event["phase"] == "OUTPUT"]
        refused = [event for event in events if event["phase"] == "INPUT" and event["verdict"] != "PASS"]
        assert self.metric("requests_total") == len(ended) + len(refused)
        assert round(self.metric("cost_usd_total") * 1e9) == sum(event["cost_nano_usd"] or 0 for event in ended)
        for kind in ["input", "cache_read", "cache_write", "output", "reasoning"]:
            counted = self.metric("tokens_total", kind=kind)
            assert counted == sum(event["usage"][kind] for event in ended), f"{kind} tokens"
        for source in ["provider", "estimated", "none"]:
            recorded = sum(event["usage"]["source"] == source for event in ended)
            assert self.metric("usage_records_total", source=source) == recorded, f"{source} usage"
        assert self.metric("journal_dropped_total") == 0
        self._search_for_secrets(events)

    def _search_for_secrets(self, events):
        metrics = get_or_none(f"http://{self.metrics_address}/metrics")
        sinks = {"the log": self.process.output(), "the events": json.dumps(events), "the metrics": metrics}
        for secret in self.secrets:
            for name, sink in sinks.items():
                assert secret not in sink, f"{secret[:12]}… stands in {name}"
        for connection in [connection for tap in self.taps for connection in tap.connections]:
            assert b"kt_" not in connection.asked, "an access key went to the provider"

    def stop(self):
        """Stops the gateway the ordinary way."""
        assert self.process.stop() == 0, self.process.output()

    def kill(self):
        for process in self.processes:
            process.kill()
        for tap in self.taps:
            tap.close()

    def _mock(self, name, *more):
        mock = self._start(name, "mock-provider", "--listen", "127.0.0.1:0", *more)
        return mock.find(r"http://127\.0\.0\.1:\d+").group()

    def _start(self, name, *arguments, environment=None):
        process = Process(self.directory / f"{name}.log", *arguments, environment=environment)
        self.processes.append(process)
        return process


def address_of(base_url):
    host, port = base_url.removeprefix("http://").split(":")
    return host, int(port)


def get_or_none(url):
    try:
        # Not through a proxy, whatever the environment says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=DEADLINE) as answer:
            return answer.read().decode()
    except OSError:
        return None
