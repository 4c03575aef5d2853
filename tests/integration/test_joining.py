"""A stranger's way, by the commands alone and with real processes: an authority, a token, a device, a revocation."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.identity.status_file import read_status
from router.client.blocking_client import Client
from router.core.errors import RevokedError, ServiceError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GATEWAY = Path(__file__).parents[1] / "faults" / "gateway_process.py"
SECONDS = 60.0
CONFIG = """
data = "data"
[door]
listen = "127.0.0.1:0"
[identity]
listen = "127.0.0.1:0"
passphrase_file = "issuing.txt"
[fleet]
sync_seconds = 0.2
[[teachers]]
name = "big"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "big"
"""


class House:
    """A folder with a cloud and a device, and the processes that run there."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "label 5"}\n')
        (folder / "cloud.toml").write_text(CONFIG)
        for name in ("issuing", "root"):
            (folder / f"{name}.txt").write_text(f"the passphrase of {name}, long enough\n")
            (folder / f"{name}.txt").chmod(0o600)

    def command(self, package, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", f"{package}.cli", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        return done

    def cloud(self, *words, code=0):
        return self.command("cloud_worker", *words, "-c", "cloud.toml", code=code)

    def edge(self, *words, code=0):
        return self.command("edge_agent", *words, "-c", "device/agent.toml", code=code)

    def start(self, *command):
        log = (self.folder / f"log-{len(self.processes)}").open("wb")
        process = subprocess.Popen([sys.executable, *command], cwd=self.folder, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_gateway(self):
        process = self.start(str(GATEWAY), "cloud.toml", "--secure")
        return process, self.told("data/run/gateway-0.json", process)

    def start_agent(self):
        process = self.start("-m", "edge_agent.cli", "run", "-c", "device/agent.toml")
        return process, self.told("device/agent-data/run/agent.json", process)

    def told(self, path, process):
        """What a process says in a file of its life."""
        return self.wait(lambda: _read(self.folder / path, process.pid))

    def until_state(self, *states):
        def said():
            told = read_status(self.folder / "device" / "agent-data")
            return told and tuple(one["state"] for one in told["states"]) == states

        self.wait(said)

    def wait(self, holds):
        end = time.monotonic() + SECONDS
        while not (found := holds()):
            assert time.monotonic() < end, self.logs()
            assert all(process.poll() in (None, -signal.SIGKILL) for process in self.processes), self.logs()
            time.sleep(0.05)
        return found

    def logs(self):
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("log-*")))

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)


def _read(path, pid):
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return said if said["pid"] == pid else None


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.end()


def test_a_stranger_joins_by_one_command_asks_is_revoked_and_joins_again(house):
    house.cloud("ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    _, gateway = house.start_gateway()
    enrolment = f"127.0.0.1:{gateway['enrolment']}"
    token = house.cloud("tokens", "create", "--device", "kitchen").stdout.strip()
    assert "kitchen has enrolled" in house.edge("enroll", "--cloud", enrolment, "--token", token).stdout
    assert f'target = "127.0.0.1:{gateway["port"]}"' in (house.folder / "device" / "agent.toml").read_text()
    assert json.loads(house.edge("status", "--json", code=1).stdout)["state"] == "not_running"
    _, agent = house.start_agent()
    house.until_state("ok")
    assert "kitchen: runs" in house.edge("status").stdout
    with Client(f"127.0.0.1:{agent['port']}", insecure=True, deadline=30.0) as client:
        assert client.ask("lamp", "home").text == "label 5"

        thief = house.edge("enroll", "--cloud", enrolment, "--token", token, code=78)
        assert "has been used" in thief.stderr

        house.cloud("clients", "create", "app", "--out", "app")
        with Client(f"127.0.0.1:{gateway['port']}", identity=house.folder / "app", deadline=30.0) as app:
            assert app.ask("lamp", "home").text == "label 5"
            house.cloud("clients", "revoke", "app")
            with pytest.raises(RevokedError):
                while True:
                    app.ask("lamp", "home")

        house.cloud("devices", "revoke", "kitchen", "--why", "stolen")
        house.until_state("revoked")
        assert '"state": "revoked"' in house.cloud("devices", "list", "--json").stdout
        with pytest.raises(ServiceError, match="revoked"):
            client.ask("lamp", "home")
        again = house.cloud("tokens", "create", "--device", "kitchen").stdout.strip()
        house.edge("enroll", "--cloud", enrolment, "--token", again)
        house.until_state("ok")
        assert client.ask("lamp", "home").text == "label 5"


def test_a_killed_gateway_comes_back_with_a_new_certificate_and_the_agent_goes_on(house):
    house.cloud("ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    process, gateway = house.start_gateway()
    token = house.cloud("tokens", "create", "--label", "site=berlin").stdout.strip()
    enrolment = f"127.0.0.1:{gateway['enrolment']}"
    house.edge("enroll", "--cloud", enrolment, "--token", token, "--device", "kitchen")
    _, agent = house.start_agent()
    house.until_state("ok")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    house.until_state("offline")
    _, back = house.start_gateway()
    assert (back["port"], back["enrolment"]) == (gateway["port"], gateway["enrolment"])
    house.until_state("ok")
    with Client(f"127.0.0.1:{agent['port']}", insecure=True, deadline=30.0) as client:
        assert client.ask("lamp", "home").text == "label 5"
