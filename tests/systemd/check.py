#!/usr/bin/env python3
"""What systemd and the gateway make of each other. Runs where tests/systemd/boot made systemd the first process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request

UNIT = "keeptrusts.service"
EDGE, METRICS, MOCK = "127.0.0.1:41002", "127.0.0.1:41004", "127.0.0.1:41010"
DATA = "/var/lib/keeptrusts"
CONFIG = "/etc/keeptrusts/keeptrusts.yaml"
SECRET = "sk-made-up-for-the-check"
# A stream of some four seconds.
TOKENS, INTERVAL = "200", "20ms"


def run(*command, code=0, stdin=None, folder=None):
    """What a command says. It must end with `code`."""
    done = subprocess.run(command, input=stdin, cwd=folder, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}: {said}"
    return said


def kt(*command, code=0):
    return run("kt", *command, "--data-dir", DATA, code=code)


def show(what):
    return run("systemctl", "show", "--value", "--property", what, UNIT).strip()


def pid():
    return int(show("MainPID"))


def journal(since=None):
    cursor = [f"--after-cursor={since}"] if since else []
    return subprocess.run(["journalctl", "--no-pager", "-o", "short-monotonic", "-u", UNIT, *cursor],
                          capture_output=True, text=True).stdout


def cursor():
    subprocess.run(["journalctl", "--sync"])
    return run("journalctl", "-n0", "--show-cursor").split("cursor: ")[1].strip()


def eventually(what, true, patience=15):
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < patience, f"not within {patience} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def status(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as refused:
        return refused.code


class Stream(threading.Thread):
    """A streaming request: what came of it, and whether it is whole."""

    def __init__(self, key):
        super().__init__()
        self.key, self.text, self.error = key, "", None
        self.start()
        eventually("a stream begins", lambda: self.text or self.error)

    def run(self):
        try:
            with ask(self.key, stream=True) as answer:
                for line in answer:
                    self.text += line.decode()
        except OSError as error:
            self.error = error

    @property
    def is_whole(self):
        return not self.is_alive() and not self.error and self.text.endswith("data: [DONE]\n\n")

    def ended(self, whole=True):
        self.join(30)
        assert self.is_whole == whole, f"whole: {self.is_whole}, {self.error}: …{self.text[-300:]}"


def ask(key, stream=False):
    body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "Say hello."}]}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return urllib.request.urlopen(
        urllib.request.Request(f"http://{EDGE}/v1/chat/completions", json.dumps(body).encode(), headers), timeout=60)


def drop_in(name, text):
    folder = f"/etc/systemd/system/{UNIT}.d"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{name}.conf", "w") as file:
        file.write("[Service]\n" + textwrap.dedent(text))
    run("systemctl", "daemon-reload")


def rewrite(old, new):
    with open(CONFIG) as file:
        text = file.read()
    assert old in text
    with open(CONFIG, "w") as file:
        file.write(text.replace(old, new))


def upgraded(how):
    """Has the installed program take over; the process before and the one after."""
    old = pid()
    how()
    eventually("systemd knows the new process", lambda: pid() not in (0, old))
    return old, pid()


def upgrade():
    return upgraded(lambda: kt("gateway", "upgrade"))


def end_of(name):
    return [event for event in events(name) if event["phase"] == "OUTPUT"][-1]["ended"]


def is_limited():
    """Sees that the main process is in the unit's control group and has its limits, as the kernel knows them. What the
    kernel cannot show here is returned."""
    with open(f"/proc/{pid()}/cgroup") as file:
        group = next(line.rstrip("\n").removeprefix("0::") for line in file if line.startswith("0::"))
    assert group == show("ControlGroup") == f"/system.slice/{UNIT}", group
    unseen = []
    # systemd itself cannot raise what it has got, where it is not allowed to.
    files = min(65536, int(limits_of(1)["Max open files"][1]))
    if files < 65536:
        unseen.append(f"more than {files} descriptors")
    found = limits_of(pid())
    assert found["Max open files"] == [str(files)] * 2 and found["Max core file size"] == ["0"] * 2, found
    assert show("LimitNOFILE") == "65536" and show("MemoryMax") == str(3 << 30) and show("MemoryHigh") == str(2 << 30)
    with open("/sys/fs/cgroup/cgroup.controllers") as file:
        controllers = file.read().split()
    for limit, most in (("memory.max", 3 << 30), ("memory.high", 2 << 30), ("pids.max", 512)):
        if limit.split(".")[0] not in controllers:
            unseen.append(limit)
            continue
        with open(f"/sys/fs/cgroup{group}/{limit}") as file:
            said = file.read().strip()
        assert said == str(most), f"{limit}: {said}"
    return unseen


def limits_of(process):
    """By their names: what is in force, and what it may be raised to."""
    with open(f"/proc/{process}/limits") as file:
        return {line[:26].strip(): line[26:].split()[:2] for line in file}


def events(name):
    return [json.loads(line) for line in kt("events", "list", "--key", name, "--json").splitlines()]


class Checks:
    """Each begins with a service that runs, and leaves one."""

    def a_start_is_over_when_requests_are_taken(self):
        run("systemctl", "stop", UNIT)
        run("systemctl", "start", UNIT)
        assert status(f"http://{METRICS}/readyz") == 200
        assert ask(KEY).status == 200
        with open(f"/proc/{pid()}/status") as file:
            found = dict(line.rstrip("\n").split(":\t", 1) for line in file)
        assert found["Uid"].split()[0] != "0" and found["CapEff"].strip("0") == "", found
        assert found["Seccomp"] == "2" and found["NoNewPrivs"] == "1", found
        folder = os.stat("/var/lib/private/keeptrusts")
        assert folder.st_uid == int(found["Uid"].split()[0]) and folder.st_mode & 0o777 == 0o700, folder
        for name in os.listdir(DATA):
            own = os.stat(f"{DATA}/{name}")
            assert own.st_uid == folder.st_uid and own.st_mode & 0o077 == 0, f"{name}: {own}"
        assert not os.path.exists(f"{DATA}/pepper"), "the pepper is a credential"

    def its_limits_are_in_force_after_an_upgrade_as_well(self):
        for begin in (lambda: None, upgrade):
            begin()
            unseen = is_limited()
        if unseen:
            print(f"    what this machine does not show or allow: {', '.join(unseen)}")

    def the_doctor_finds_nothing(self):
        found = kt("doctor", "--canary")
        assert "nobody but its owner can read it" in found and "failed" not in found, found

    def a_reload_takes_a_good_configuration_and_leaves_a_bad_one(self):
        before = pid()
        rewrite("organization: default", "organization: acme")
        run("systemctl", "reload", UNIT)
        assert "acme" in kt("config", "running")
        since = cursor()
        rewrite("organization: acme", "organisation: other")
        run("systemctl", "reload", UNIT, code=1)
        assert "organisation" in journal(since)
        assert show("ActiveState") == "active" and pid() == before and "acme" in kt("config", "running")
        rewrite("organisation: other", "organization: default")
        run("systemctl", "reload", UNIT)
        assert status(f"http://{METRICS}/readyz") == 200

    def an_upgrade_is_followed_and_its_streams_end_by_themselves(self):
        for how in (lambda: kt("gateway", "upgrade"),
                    lambda: run("systemctl", "kill", "-s", "USR2", "--kill-whom=main", UNIT)):
            since, restarts = cursor(), show("NRestarts")
            stream = Stream(KEY)
            old, new = upgraded(how)
            assert show("ActiveState") == "active" and show("SubState") == "running"
            assert is_alive(old) and not stream.is_whole, "the old process serves its stream"
            assert ask(KEY).status == 200
            stream.ended()
            eventually("the old process ends", lambda: not is_alive(old))
            # Longer than the watchdog's period.
            time.sleep(4)
            assert pid() == new and show("ActiveState") == "active" and show("NRestarts") == restarts
            assert end_of("check") == "complete"
            # It speaks alone from then on, and systemd hears of its end as of that of any process of its own.
            assert "Got notification message" not in journal(since)
            assert "not our child" not in journal(since)

    def an_upgrade_can_be_reloaded_and_upgraded_again(self):
        for _ in range(3):
            old, new = upgrade()
            eventually("the old process ends", lambda: not is_alive(old))
            run("systemctl", "reload", UNIT)
            eventually("nothing is left of it", lambda: f"process {old}, which had handed over, has ended" in journal())
            assert show("ActiveState") == "active" and pid() == new

    def a_second_upgrade_works_once_the_streams_of_the_first_have_ended(self):
        stream = Stream(KEY)
        old, new = upgrade()
        assert "still serves requests it had begun" in kt("gateway", "upgrade", code=1)
        assert pid() == new and show("ActiveState") == "active"
        stream.ended()
        eventually("nothing is left of it", lambda: f"process {old}, which had handed over, has ended" in journal())
        stream = Stream(KEY)
        assert upgrade()[0] == new
        is_limited()
        assert is_alive(new) and not stream.is_whole, "the second process serves its stream"
        stream.ended()
        eventually("the second process ends", lambda: not is_alive(new))
        assert show("ActiveState") == "active" and ask(KEY).status == 200

    def the_watchdog_ends_a_process_that_hangs(self):
        for begin in (lambda: None, upgrade):
            begin()
            time.sleep(1)
            hung, restarts = pid(), int(show("NRestarts"))
            os.kill(hung, signal.SIGSTOP)
            eventually("it is started again", lambda: int(show("NRestarts")) == restarts + 1, 20)
            eventually("it is ready", lambda: show("ActiveState") == "active")
            assert pid() != hung and ask(KEY).status == 200

    def a_stop_waits_for_streams_of_both_processes(self):
        stream = Stream(KEY)
        old, _ = upgrade()
        other = Stream(KEY)
        run("systemctl", "stop", UNIT)
        assert not is_alive(old) and show("Result") == "success", show("Result")
        stream.ended()
        other.ended()
        run("systemctl", "start", UNIT)
        old, _ = upgrade()
        eventually("the old process ends", lambda: not is_alive(old))
        stream = Stream(KEY)
        run("systemctl", "stop", UNIT)
        assert show("Result") == "success", show("Result")
        stream.ended()
        run("systemctl", "start", UNIT)
        assert [event["ended"] for event in events("check") if event["phase"] == "OUTPUT"][-3:] == ["complete"] * 3

    def a_stop_in_the_middle_of_an_upgrade_stops_both(self):
        for wait in (0, 0.05, 0.1, 0.2, 0.4):
            before = pid()
            run("systemctl", "kill", "-s", "USR2", "--kill-whom=main", UNIT)
            time.sleep(wait)
            begun = time.monotonic()
            run("systemctl", "stop", UNIT)
            assert time.monotonic() - begun < 5 and show("Result") == "success", show("Result")
            assert show("MainPID") == "0" and not is_alive(before)
            run("systemctl", "start", UNIT)
            assert ask(KEY).status == 200

    def a_restart_refuses_nobody(self):
        stop, failed, answered = threading.Event(), [], []

        def keep_asking():
            while not stop.is_set():
                try:
                    answered.append(ask(KEY).status)
                except OSError as error:
                    failed.append(error)

        clients = [threading.Thread(target=keep_asking) for _ in range(4)]
        [client.start() for client in clients]
        for _ in range(3):
            run("systemctl", "restart", UNIT)
        stop.set()
        [client.join() for client in clients]
        assert not failed and len(answered) > 12, f"{failed}, {len(answered)}"

    def a_killed_process_is_started_again(self):
        killed, restarts = pid(), int(show("NRestarts"))
        os.kill(killed, signal.SIGKILL)
        eventually("it is started again", lambda: int(show("NRestarts")) == restarts + 1)
        eventually("it is ready", lambda: show("ActiveState") == "active")
        assert ask(KEY).status == 200

    def a_new_process_that_is_killed_takes_the_old_one_with_it(self):
        stream = Stream(KEY)
        old, new = upgrade()
        restarts = int(show("NRestarts"))
        os.kill(new, signal.SIGKILL)
        eventually("it is started again", lambda: int(show("NRestarts")) == restarts + 1, 40)
        eventually("it is ready", lambda: show("ActiveState") == "active", 40)
        stream.ended(whole=False)
        assert not is_alive(old) and ask(KEY).status == 200
        ends = [event["ended"] for event in events("check") if event["phase"] == "OUTPUT"]
        assert ends[-2] in ("crashed", "shutdown"), ends

    def an_old_process_that_is_killed_disturbs_nothing(self):
        stream = Stream(KEY)
        old, new = upgrade()
        restarts = show("NRestarts")
        os.kill(old, signal.SIGKILL)
        stream.ended(whole=False)
        time.sleep(1)
        assert pid() == new and show("ActiveState") == "active" and show("NRestarts") == restarts
        assert end_of("check") == "crashed"

    def a_program_that_cannot_take_over_changes_nothing(self):
        before = pid()
        shutil.move("/usr/bin/kt", "/usr/bin/kt.good")
        for program in (b"#!/bin/sh\nexit 3\n", b"no program", None):
            if program:
                with open("/usr/bin/kt", "wb") as file:
                    file.write(program)
                os.chmod("/usr/bin/kt", 0o755)
            elif os.path.exists("/usr/bin/kt"):
                os.remove("/usr/bin/kt")
            said = run("/usr/bin/kt.good", "gateway", "upgrade", "--data-dir", DATA, code=1)
            print("   ", said.strip().splitlines()[-1])
            assert pid() == before and show("ActiveState") == "active" and ask(KEY).status == 200
        shutil.move("/usr/bin/kt.good", "/usr/bin/kt")
        upgrade()

    def nothing_is_said_that_should_not_be(self):
        said = journal()
        assert SECRET not in said and KEY not in said
        for trace in ("SIGSYS", "Operation not permitted", "panicked"):
            assert trace not in said, [line for line in said.splitlines() if trace in line]


def install():
    """As README.md beside the units says, word for word."""
    shutil.copytree("/source/systemd", "/opt/release/systemd")
    shutil.copytree("/source/conf", "/opt/release/conf")
    with open("/opt/release/systemd/keeptrusts.yaml", "a") as file:
        file.write(f"    base_url: http://{MOCK}\n")
    with open("/source/systemd/README.md") as file:
        commands = re.search(r"^```\n(.*?)^```", file.read(), re.S | re.M).group(1)
    # Shorter than for real, so that there is something to see.
    drop_in("watchdog", "WatchdogSec=3s\nStartLimitBurst=100\n")
    run("bash", "-e", "-c", commands, stdin=SECRET + "\n", folder="/opt/release")


install()
provider = subprocess.Popen(["/opt/release/target/release/kt", "mock-provider", "--listen", MOCK, "--tokens", TOKENS, "--interval", INTERVAL],
                            stdout=subprocess.DEVNULL)
KEY = json.loads(kt("keys", "create", "--name", "check", "--json"))["key"]
checks = Checks()
names = [name for name in vars(Checks) if not name.startswith("_")]
failed = 0
for name in names if not sys.argv[1:] else sys.argv[1:]:
    begun, since = time.monotonic(), cursor()
    print(name.replace("_", " "), flush=True)
    try:
        getattr(checks, name)()
        print(f"    yes, {time.monotonic() - begun:.1f} s", flush=True)
    except Exception as error:
        failed += 1
        print(f"    NO: {type(error).__name__}: {error}", flush=True)
        print(textwrap.indent(journal(since), "    "), flush=True)
provider.kill()
sys.exit(failed)
