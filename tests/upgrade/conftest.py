"""Former versions of Headrace, and houses in which versions meet: a cloud and a device in a folder, as real processes.

A former version is a wheel or commit that HEADRACE_FORMER names, else the newest tag before this version, else a commit
of this repository from before what it has to be upgraded over. Without network and without that history it can't be
had, and what needs it is skipped.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from router.client.blocking_client import Client
from tests.house import GATEWAY, SETTINGS, Processes

ROOT = Path(__file__).parents[2]
STEPS = Path(__file__).with_name("steps.py")
PACKAGES = ("router", "edge_agent", "cloud_worker")
BEFORE_SIGNING = "149dabb"  # no signed releases, rollouts, erasures, memory; a format of outbox and slots less


@dataclass(frozen=True)
class Version:
    """A version of Headrace: the folder of its packages, empty for the one that is tested."""

    name: str
    folder: str

    @property
    def environment(self):
        return os.environ | ({"PYTHONPATH": self.folder} if self.folder else {})


def git(*words):
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def unpacked(what, folder):
    """The packages of a wheel, a tag or a commit, in a folder; false where it can't be had."""
    if what.endswith(".whl"):
        zipfile.ZipFile(what).extractall(folder)
        return True
    archive = git("archive", what, *PACKAGES)
    if archive:
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
    return bool(archive)


def wanted():
    tag = git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^").decode().strip()
    return os.environ.get("HEADRACE_FORMER") or tag or BEFORE_SIGNING


@pytest.fixture(scope="session")
def former(tmp_path_factory):
    folder, what = tmp_path_factory.mktemp("former"), wanted()
    if not unpacked(what, folder):
        pytest.skip(f"no former version: {what} is not in the history here; HEADRACE_FORMER names a wheel or a commit")
    return Version(what, str(folder))


@pytest.fixture(scope="session")
def present():
    return Version("this version", "")


class House(Processes):
    """One whose versions can be changed."""

    gateway_script = GATEWAY
    ended = (None, 0, -signal.SIGKILL)

    def __init__(self, folder, *, secure):
        super().__init__(folder, "[tasks.exploration]\nfloor = 0.5\n" + SETTINGS)
        self.secure, self.asked = secure, 0
        (folder / "device").mkdir()

    def command(self, version, *words, code=0):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=version.environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def cloud(self, version, *words, code=0):
        return self.command(version, "-m", "cloud_worker.cli", *words, "-c", "cloud.toml", code=code)

    def step(self, version, *words):
        return self.command(version, str(STEPS), *words).stdout.strip()

    def start_gateway(self, version):
        self.cloud_version = version
        process = self.start(
            str(GATEWAY), "cloud.toml", *(["--secure"] if self.secure else []), environment=version.environment
        )
        self.told_by_gateway = self.told("data/run/gateway-0.json", process)
        return process

    def start_agent(self, version):
        """The device's agent; it joins first, where it has not."""
        toml = self.folder / "device" / "agent.toml"
        if not toml.exists() and self.secure:
            token = self.cloud(self.cloud_version, "tokens", "create", "--device", "kitchen").stdout.strip()
            address = f"127.0.0.1:{self.told_by_gateway['enrolment']}"
            enrol = ("-m", "edge_agent.cli", "enroll", "--cloud", address, "--token", token, "-c", str(toml))
            self.command(version, *enrol)
        elif not toml.exists():
            target = f"127.0.0.1:{self.told_by_gateway['port']}"
            toml.write_text(f'device = "kitchen"\ndata = "agent-data"\nupstream.target = "{target}"\n')
        if "[door]" not in toml.read_text():
            toml.write_text(toml.read_text() + '\n[door]\nlisten = "127.0.0.1:0"\n')
        plain = [] if self.secure else ["--insecure"]
        process = self.start("-m", "edge_agent.cli", "run", "-c", str(toml), *plain, environment=version.environment)
        self.agent_port = self.told("device/agent-data/run/agent.json", process)["port"]
        return process

    def ask(self, text, count=1):
        """Ask the agent so often; the answers."""
        with Client(f"127.0.0.1:{self.agent_port}", insecure=True, deadline=30.0) as client:
            answers = []
            for _ in range(count):
                self.asked += 1
                answers.append(client.ask(text, "home", query_id=f"q{self.asked}"))
            return answers

    def until_release(self, number):
        return self.wait(lambda: self.ask("light")[0].provenance.release == number)

    def until_taught(self):
        self.wait(lambda: (self.status() or {}).get("outbox_pending") == 0)

    def logged(self, version):
        """The ids of the queries in the log, once its spools are drained; each as often as it is there."""
        return json.loads(self.step(version, "drain", "cloud.toml"))

    def stop(self, process):
        process.terminate()
        assert process.wait(60) == 0, self.logs()


@pytest.fixture
def make_house(tmp_path):
    made = []

    def make(*, secure):
        made.append(House(tmp_path, secure=secure))
        return made[-1]

    yield make
    for house in made:
        house.end()
