"""A cloud and a device as real processes, with certificates, set up by the commands alone."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.erasing.drain_and_erase import drain_and_erase
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start, open_store
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from edge_agent.identity.status_file import read_status
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from tests.operator import write_cloud

GATEWAY = Path(__file__).parent / "faults" / "gateway_process.py"
SECONDS = 60.0
SETTINGS = """[door]
listen = "127.0.0.1:0"
[identity]
listen = "127.0.0.1:0"
passphrase_file = "issuing.txt"
[fleet]
sync_seconds = 0.2
"""


class Processes:
    """A folder with a cloud and a device, and the processes that run there."""

    ended = (None, -signal.SIGKILL)  # what a process may have come to while something is waited for

    def __init__(self, folder, settings=SETTINGS):
        self.folder, self.processes = folder, []
        write_cloud(folder, cloud_toml(settings), ("issuing", "root"))

    def start(self, *command, inside=(), environment=None):
        """Start a program of ours; what comes before it in ``inside`` becomes it, and keeps its process."""
        words = [*inside, sys.executable, *command]
        with (self.folder / f"log-{len(self.processes)}").open("wb") as log:
            process = subprocess.Popen(words, cwd=self.folder, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def told(self, path, process):
        """What a process says in a file of its life."""
        return self.wait(lambda: _read(self.folder / path, process.pid))

    def status(self):
        """What the agent says of itself, ``None`` where it says nothing."""
        return read_status(self.folder / "device" / "agent-data")

    def wait(self, holds, seconds=SECONDS):
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, self.logs()
            assert all(process.poll() in self.ended for process in self.processes), self.logs()
            time.sleep(0.05)
        return found

    def logs(self):
        return "\n".join(
            f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(self.folder.glob("log-*"))
        )

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)


class House(Processes):
    """One whose programs are those of this version."""

    def command(self, package, *words, code=0, inside=()):
        done = subprocess.run(
            [*inside, sys.executable, "-m", f"{package}.cli", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        return done

    def cloud(self, *words, code=0):
        return self.command("cloud_worker", *words, "-c", "cloud.toml", code=code)

    def edge(self, *words, code=0, inside=()):
        return self.command("edge_agent", *words, "-c", "device/agent.toml", code=code, inside=inside)

    def enrol(self, gateway, host="127.0.0.1", inside=()):
        """Make the device ``kitchen`` join, and listen at a socket, which other networks reach too; its address."""
        token = self.cloud("tokens", "create", "--device", "kitchen").stdout.strip()
        self.edge("enroll", "--cloud", f"{host}:{gateway['enrolment']}", "--token", token, inside=inside)
        door = f"unix:{self.folder / 'agent.sock'}"
        with (self.folder / "device" / "agent.toml").open("a") as file:
            file.write(f'[door]\nlisten = "{door}"\n')
        return door

    def give_student(self, exploration):
        """Have the cloud's champion be a student that knows single words, pinned, with so much explored."""
        config = read_config(self.folder / "cloud.toml")
        config.data.mkdir(exist_ok=True)
        store, publisher = open_at_start(config), Publisher(config.releases_folder)
        store.declare_tasks(config.tasks)
        manifest, files = tiny_release(config.task("home"), 1, WORDS)
        sha256 = publisher.publish(manifest, files)
        store.add_release(ReleaseRow("home", 1, ReleaseState.BUILDING, sha256, time.time()))
        store.promote("home", 1, sha256, exploration=exploration)
        self.cloud("pin", "home", "1", "--force", "--why", "a test")

    def logged(self):
        """How often the log has each query, once what waits in the gateway's spool is in it."""
        config = read_config(self.folder / "cloud.toml")
        drain_and_erase(config, open_store(config))
        rows = DistillationLog(config.log_folder).read("home", columns=["query_id"])
        return Counter(rows["query_id"].to_pylist())

    def start_gateway(self, inside=()):
        process = self.start(str(GATEWAY), "cloud.toml", "--secure", inside=inside)
        return process, self.told("data/run/gateway-0.json", process)

    def start_agent(self, inside=()):
        process = self.start("-m", "edge_agent.cli", "run", "-c", "device/agent.toml", inside=inside)
        return process, self.told("device/agent-data/run/agent.json", process)

    def until_state(self, *states, seconds=SECONDS):
        """Wait until the agent says these of itself; what else it says."""

        def said():
            told = self.status()
            return told if told and tuple(one["state"] for one in told["states"]) == states else None

        return self.wait(said, seconds)

    def until_first_state(self, state, seconds=SECONDS):
        """Wait until the agent says this of itself first, whatever else it says."""
        self.wait(lambda: (told := self.status()) and told["state"] == state, seconds)

    def release(self):
        """The release that the agent serves, 0 for none."""
        told = self.status()
        return told["tasks"][0]["release"] if told and told["tasks"] else 0


def _read(path, pid):
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return said if said["pid"] == pid else None
