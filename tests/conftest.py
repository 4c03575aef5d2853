"""One Ray cluster for the whole session, with everything of ours on it; tests that need it are marked ``cluster``."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from cloud_worker.config.cloud import CloudConfig, read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.running.process_lock import wait_until_ended, who_runs
from cloud_worker.running.ray_environment import prepare_environment
from router import Client
from router.core.domain.record import Record, Source

TEXTS = 2000
TESTS = Path(__file__).parent
UP_SECONDS = 480
MOST_TOLD = 4_000  # characters of why a test failed at first

ON_THE_CLUSTER = frozenset(
    {
        "tests/cloud_worker/gateway/test_actor.py",
        "tests/cloud_worker/pool/test_serve.py",
        "tests/cloud_worker/refresh/monitoring/test_reask.py",
        "tests/cloud_worker/test_texts_on_cluster.py",
    }
)
LONG = ("tests/integration/", "tests/faults/", "tests/cloud_worker/startup/", "tests/cloud_worker/test_cloud_cli.py")

settings.register_profile("headrace", deadline=None)  # a busy machine is no failure
settings.load_profile("headrace")


class Scheduling(LoadFileScheduling):
    """Tests of a file stay together, those of the session's cluster too; what lasts longest begins first."""

    def _split_scope(self, nodeid):
        path = super()._split_scope(nodeid)
        return "cluster" if path in ON_THE_CLUSTER else path

    def _assign_work_unit(self, node):
        if not any(self.assigned_work.values()):
            for scope in [one for one in reversed(self.workqueue) if one == "cluster" or one.startswith(LONG)]:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def pytest_terminal_summary(terminalreporter):
    """Tell why a test was given another try, whatever became of that."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"another try of {report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext[-MOST_TOLD:])


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their argument: packed ones carry the time, and each process would name the test otherwise."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """How tests are shared out among processes, where there are several."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Refuse a second session's cluster, which a file that is not named would start in another process."""
    found = {
        item.nodeid.partition("::")[0]
        for item in items
        if "cluster" in item.fixturenames and item.get_closest_marker("cluster")
    }
    if found - ON_THE_CLUSTER:
        raise pytest.UsageError(f"name in ON_THE_CLUSTER of tests/conftest.py: {sorted(found - ON_THE_CLUSTER)}")


@dataclass(frozen=True)
class RunningCluster:
    """The session's cluster: its configuration, its actors, and where it serves."""

    config: CloudConfig
    target: str
    gateway: object
    log_writer: object

    def drain(self):
        """Bring everything that was answered into the log."""
        import ray

        ray.get(self.log_writer.drain.remote())

    def port(self):
        """The gateway's port, once it is open."""
        import ray

        return ray.get(self.gateway.port.remote())


def write_cluster(folder, listen="127.0.0.1:0", drain_seconds=0.2):
    """A configuration in ``folder`` whose teacher knows ``text 0`` to ``text 1999``, and knows nothing else."""
    lines = [json.dumps({"text": f"text {number}", "label": f"label {number % 7}"}) for number in range(TEXTS)]
    (folder / "answers.jsonl").write_text("\n".join(lines))
    path = folder / "cloud.toml"
    path.write_text(
        cloud_toml(
            f"""student = "encoder-head"
max_text_bytes = 1000
[[teachers]]
name = "small"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "tiered"
reference = "recorded"
student = "encoder-head"
[tasks.cheaper]
teachers = ["small"]
[[tasks]]
name = "private"
reference = "recorded"
local_only = true
[[tasks]]
name = "quiet"
reference = "recorded"
log_by_default = false
[door]
listen = "{listen}"
reflection = true
[log]
drain_seconds = {drain_seconds}
[fleet]
sync_seconds = 0.2
[refresh]
min_rows = 1000000
""",
            teacher="recorded",
        )
    )
    return path


# What each word makes the session's writing teacher write.
WORDS = {"lamp": "dark room the answer is on", "gadget": "unclear", "long": "a b c d e f g"}


def add_writer(folder, path):
    """Give the configuration at ``path`` a teacher that writes and gives reasons, and a task ``talk`` for it."""
    from router.students.writers.testing import tiny_writer_files

    (folder / "writer").mkdir()
    for name, content in tiny_writer_files(WORDS).items():
        (folder / "writer" / name).write_bytes(content)
    with path.open("a") as stream:
        stream.write("""
[[teachers]]
name = "writer"
kind = "generating"
model = "writer"
rationale_prompt = "{text}"
[[tasks]]
name = "talk"
reference = "writer"
kind = "text"
judge = "normalised_text"
student = "generator"
base = "writer"
recipe = "step-by-step"
[tasks.limits]
max_tokens = 12
[tasks.options]
tokens = true
""")


CLOUD_FOLDER = """
data = "{data}"
[door]
listen = "127.0.0.1:{port}"
[[teachers]]
name = "recorded"
kind = "recorded"
answers = "answers.jsonl"
[[tasks]]
name = "home"
reference = "recorded"
"""


class CloudFolder:
    """A folder with a configuration, and what is done there with ``headrace-cloud``."""

    def __init__(self, folder, data="data"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.run_folder = folder / data / "run"
        (folder / "answers.jsonl").write_text('{"text": "lights on", "label": "light_on"}\n')
        (folder / "cloud.toml").write_text(CLOUD_FOLDER.format(port=self.port, data=data))

    def command(self, *words):
        return [
            Path(sys.executable).with_name("headrace-cloud"),
            words[0],
            "--config",
            self.folder / "cloud.toml",
            *words[1:],
        ]

    def run(self, *words, **options):
        given = {"capture_output": True, "text": True, "timeout": UP_SECONDS, "check": False, "cwd": self.folder}
        return subprocess.run(self.command(*words), **(given | options))

    def ask(self):
        with Client(f"127.0.0.1:{self.port}", insecure=True) as client:
            return client.ask("lights on", "home").text

    def pid(self):
        """The process of the gateway that serves."""
        return int(json.loads((self.run_folder / "gateway-0.json").read_bytes())["pid"])

    def end(self):
        pid, _ = who_runs(self.run_folder)
        if pid:
            os.kill(pid, signal.SIGTERM)
            assert wait_until_ended(self.run_folder, 60)


@pytest.fixture
def let_others_in():
    """Lets other users into a folder of a test; pytest closes those above it to them."""

    def let_in(folder):
        for above in (folder, *folder.parents):
            if above == Path(tempfile.gettempdir()):
                break
            above.chmod(0o755)

    return let_in


@pytest.fixture
def make_cloud_folder():
    """Makes such folders; what runs in them ends with the test."""
    made = []

    def make(folder, data="data"):
        made.append(CloudFolder(folder, data))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def cloud_folder(tmp_path, make_cloud_folder):
    """One in the test's own folder."""
    return make_cloud_folder(tmp_path)


@pytest.fixture
def record():
    """Makes a record; what is not given is as a cold device's escalated and explored query."""

    def make(position, text="lamp", answer="lights", **fields):
        values = {
            "caller": "kitchen",
            "query_id": f"q{position}",
            "teacher": "big",
            "teacher_version": "v1",
            "task": "home",
            "task_version": 1,
            "asked_at": float(position),
            "received_at": float(position),
            "text": text,
            "answer": answer,
            "source": Source.ESCALATED,
            "explored": True,
            "exploration": 1.0,
        }
        return Record(**(values | fields))

    return make


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The running cluster; Ray is imported only where it is asked for."""
    folder = tmp_path_factory.mktemp("cluster")
    path = write_cluster(folder)
    add_writer(folder, path)
    config = read_config(path)
    prepare_environment(own_cluster=True)
    from cloud_worker.startup.cluster import running

    with running(config, insecure=True, step=lambda name: contextlib.nullcontext()) as started:
        yield RunningCluster(config, started.listen, started.gateway, started.log_writer)


@pytest.fixture(scope="session")
def shared():
    """Gives a module that several tests share, or that is a script too, by its path below this folder."""
    loaded = {}

    def module(name):
        if name not in loaded:
            spec = importlib.util.spec_from_file_location(Path(name).name, TESTS / f"{name}.py")
            loaded[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return loaded[name]

    return module


@pytest.fixture
def house(shared, tmp_path):
    """A folder with a cloud and a device, whose processes end with the test."""
    made = shared("house").House(tmp_path)
    yield made
    made.end()
