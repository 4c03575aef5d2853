"""``kill -9`` of Ray's head, which Ray never brings back: ``up`` begins anew, and what was acknowledged stays."""

import time

import psutil
import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.log.distillation_log import DistillationLog, records_of
from cloud_worker.running.process_lock import who_runs
from router import Client, ServiceError

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS = 180.0


def head_of(pid, name):
    """Ray's process ``name`` below an ``up``, ``None`` while there is none."""
    found = [child for child in psutil.Process(pid).children(recursive=True) if child.name().startswith(name)]
    return found[0] if found else None


def until(told):
    """Wait until ``told`` gives something true, and give it back."""
    end = time.monotonic() + SECONDS
    while not (result := told()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return result


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_up_begins_anew_and_nothing_acknowledged_is_lost(cloud_folder, name):
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    pid, _ = who_runs(cloud_folder.run_folder)
    acknowledged = []
    with Client(f"127.0.0.1:{cloud_folder.port}", insecure=True, deadline=2.0) as client:

        def ask():
            try:
                answer = client.ask("lights on", "home")
            except ServiceError:
                return False
            acknowledged.extend([answer.query_id] if answer.provenance.logged else [])
            return True

        assert all(ask() for _ in range(20))
        killed = head_of(pid, name)
        children = psutil.Process(pid).children(recursive=True)
        killed.kill()
        until(lambda: ask() and (now := head_of(pid, name)) is not None and now.pid != killed.pid)
        assert all(ask() for _ in range(20))
    assert who_runs(cloud_folder.run_folder)[0] == pid  # so that `down` and a supervisor find it
    assert psutil.wait_procs(children, timeout=120)[1] == []
    assert len(acknowledged) >= 40
    down = cloud_folder.run("down")
    assert down.returncode == 0, down.stderr
    rows = records_of(DistillationLog(read_config(cloud_folder.folder / "cloud.toml").log_folder).read("home"))
    ids = [row.query_id for row in rows]
    assert set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))
