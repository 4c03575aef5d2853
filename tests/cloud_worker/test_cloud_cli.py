import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.running.process_lock import sole, wait_until_ended, who_runs
from cloud_worker.testing import edge
from router.core.domain.query import Query
from router.core.errors import ConfigError, DataError, StartError

CONFIG = cloud_toml(
    """[door]
listen = "127.0.0.1:{port}"
[log]
drain_seconds = 0.2
""",
    teacher="recorded",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def folder(tmp_path, port):
    (tmp_path / "answers.jsonl").write_text('{"text": "lights on", "label": "light_on"}\n')
    (tmp_path / "cloud.toml").write_text(CONFIG.format(port=port))
    return tmp_path


def command(folder, *words):
    config = ("--config", str(folder / "cloud.toml"))
    return [sys.executable, "-m", "cloud_worker.cli", words[0], *config, *words[1:]]


def run(folder, *words, timeout=300):
    return subprocess.run(command(folder, *words), capture_output=True, text=True, timeout=timeout, check=False)


def test_a_missing_configuration_is_named(folder):
    (folder / "cloud.toml").unlink()
    done = run(folder, "up", "--insecure")
    assert done.returncode == ConfigError.exit_code
    assert f"{folder / 'cloud.toml'}: there is no such file" in done.stderr


def test_plain_transport_has_to_be_asked_for(folder):
    done = run(folder, "up")
    assert done.returncode == ConfigError.exit_code
    assert "--insecure" in done.stderr


def test_a_port_in_use_is_said_before_anything_starts(folder, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run(folder, "up", "--insecure")
    assert done.returncode == StartError.exit_code
    assert f"127.0.0.1:{port}" in done.stderr
    assert not (folder / "data" / "fleet.sqlite").exists()


def test_a_line_that_the_teacher_can_not_use_is_named(folder):
    (folder / "answers.jsonl").write_text('{"text": "lights on", "label": "light_on"}\n{"text": "no label"}\n')
    done = run(folder, "up", "--insecure")
    assert done.returncode == DataError.exit_code
    assert f"{folder / 'answers.jsonl'}:2: label" in done.stderr


def test_a_ray_cluster_that_is_not_there_is_said_within_seconds(folder):
    began = time.monotonic()
    done = run(folder, "up", "--insecure", "--address", f"127.0.0.1:{free_port()}")
    assert done.returncode == StartError.exit_code
    assert "no Ray cluster answers at 127.0.0.1" in done.stderr
    assert time.monotonic() - began < 30  # imports on a busy machine included; Ray alone would wait 40 s more


def test_a_second_up_on_the_same_data_is_refused_and_names_the_first(folder):
    with sole(folder / "data" / "run"):
        done = run(folder, "up", "--insecure")
    assert done.returncode == StartError.exit_code
    assert f"process {os.getpid()} runs" in done.stderr


def test_the_lock_ends_with_its_process(tmp_path):
    script = f"""
import os, pathlib, signal
from cloud_worker.running.process_lock import sole
with sole(pathlib.Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=300)
    assert who_runs(tmp_path) == (None, None)
    with sole(tmp_path):
        assert who_runs(tmp_path)[0] == os.getpid()
        assert not wait_until_ended(tmp_path, 0.1)
    assert wait_until_ended(tmp_path, 10)


def test_status_and_down_say_that_nothing_runs(folder):
    done = run(folder, "status")
    assert (done.returncode, done.stdout.splitlines()[0][:12]) == (1, "nothing runs")
    report = json.loads(run(folder, "status", "--json").stdout)
    assert (report["running"], report["tasks"]) == (False, [])
    down = run(folder, "down")
    assert (down.returncode, "nothing runs" in down.stderr) == (0, True)
    assert not (folder / "data" / "fleet.sqlite").exists()


@pytest.fixture
def detached(folder):
    up = run(folder, "up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    pid, announced = who_runs(folder / "data" / "run")
    yield pid, announced
    if psutil.pid_exists(pid):
        psutil.Process(pid).kill()


@pytest.mark.cluster
@pytest.mark.timeout(900)
async def test_up_serves_status_tells_and_down_ends_every_process(folder, port, detached):
    pid, announced = detached
    assert announced.listen == f"127.0.0.1:{port}"
    started = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    async with edge(announced.listen, "kitchen") as device:
        await device.sync()
        assert (await device.ask(Query("q", "home", "lights on"))).text == "light_on"
    report = json.loads(run(folder, "status", "--json").stdout)
    assert (report["running"], report["ready"], report["pid"]) == (True, True, pid)
    assert report["tasks"][0]["release"] == 0
    assert report["devices"][0]["device"] == "kitchen"
    assert elsewhere(started) == []
    down = run(folder, "down")
    assert down.returncode == 0, down.stderr
    assert psutil.wait_procs(started, timeout=120)[1] == []
    assert DistillationLog(folder / "data" / "log").rows() == 1


def elsewhere(processes):
    """Addresses beyond this machine that the processes listen on."""
    found = []
    for process in processes:
        if process.is_running():
            found += [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return [address for address in found if address.ip not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}]


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_ctrl_c_while_it_starts_ends_every_process(folder):
    with subprocess.Popen(
        command(folder, "up", "--insecure"), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as up:
        for line in up.stderr:
            if line.startswith("Ray"):
                break
        started = psutil.Process(up.pid).children(recursive=True)
        os.killpg(up.pid, signal.SIGINT)
        up.stderr.read()
    assert up.returncode == 130
    assert psutil.wait_procs(started, timeout=120)[1] == []
    assert who_runs(folder / "data" / "run") == (None, None)
