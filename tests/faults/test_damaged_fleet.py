"""The fleet's database damaged under a real `up`, and before its start: answers go on, and nothing old certifies."""

import json
import os
import sqlite3
import time
from dataclasses import replace

import grpc
import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import ReleaseRow, Store
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Mode
from router.core.release.reports import DeviceReport
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.transport import telemetry_names
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.v1 import fleet_pb2_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROOF = Certificate(0.02, attempt_alpha(0.95, 1), 400, 1, 9.0, attempt=1)
SECONDS = 60.0  # machines are shared


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(os.urandom(40_000))


def serve_two_releases(cloud_folder):
    """Let releases 1 and 2 have been certified, and 2 serve, as an `up` before this one left it."""
    settings = read_config(cloud_folder.folder / "cloud.toml")
    settings.data.mkdir()
    store, publisher = Store(settings.store_url), Publisher(settings.releases_folder)
    store.declare_tasks(settings.tasks)
    publish_first_releases(settings.tasks, store, publisher)
    for number in (1, 2):
        manifest, files = tiny_release(settings.task("home"), number, WORDS)
        digest = publisher.publish(replace(manifest, certificate=PROOF), files)
        store.add_release(ReleaseRow("home", number, "building", "", 0.0, local_share=0.8))
        store.promote("home", number, digest, watch="quiet")
    store.update_task("home", attempt=1)
    store.engine.dispose()


def order(cloud_folder):
    """What a device hears of the task."""
    with grpc.insecure_channel(f"127.0.0.1:{cloud_folder.port}") as channel:
        stub, metadata = fleet_pb2_grpc.FleetStub(channel), ((telemetry_names.META_DEVICE, "kitchen"),)
        said = orders_from_proto(stub.Sync(report_to_proto(DeviceReport("kitchen")), metadata=metadata, timeout=60))
    [one] = said.tasks
    return one


def until(act, what):
    """Wait until ``act`` gives something that is true; what a device is refused meanwhile is UNAVAILABLE."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if found := act():
                return found
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    raise AssertionError(f"{what} within {SECONDS:.0f} s")


def status(cloud_folder):
    """What `status` tells; in the moment in which the database is made anew it may have to be asked again."""
    for _ in range(5):
        done = cloud_folder.run("status", "--json")
        if done.returncode != 75:
            break
        assert "try again" in done.stderr, done.stderr
        print("status has to be asked again:", done.stderr)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    return json.loads(done.stdout)


def assert_lost_and_safe(cloud_folder):
    """Everything escalates under a number that goes on, and `status` tells what was lost and what to do."""
    told = until(lambda: (one := order(cloud_folder)).mode is Mode.ESCALATE_ALL and one, "nothing is kept")
    assert (told.release, told.watch) == (2, "alarmed")
    report = status(cloud_folder)
    assert "home" in report["state_lost"]
    [task] = report["tasks"]
    assert (task["release"], task["watch"]) == (2, "alarmed")
    in_words = cloud_folder.run("status")
    assert "the fleet's database was lost and made anew" in in_words.stdout
    assert "order it again" in in_words.stdout
    return report


@pytest.mark.slow
def test_a_state_damaged_before_the_start_and_again_while_it_runs_keeps_nothing_and_answers(cloud_folder):
    serve_two_releases(cloud_folder)
    path = cloud_folder.folder / "data" / "fleet.sqlite"
    overwrite(path)
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    assert cloud_folder.ask() == "light_on"
    before = assert_lost_and_safe(cloud_folder)
    assert cloud_folder.run("freeze", "home").returncode == 0
    cut(path)
    assert cloud_folder.ask() == "light_on"
    after = until(
        lambda: (told := status(cloud_folder))["state_lost"]["home"] > before["state_lost"]["home"] and told, "told"
    )
    assert cloud_folder.ask() == "light_on"
    assert_lost_and_safe(cloud_folder)
    assert len([name for name in after["log"]["put_aside"] if "fleet.sqlite" in name]) >= 2


@pytest.mark.slow
def test_commands_answers_and_a_killed_gateway_beside_a_foreign_lock(cloud_folder):
    serve_two_releases(cloud_folder)
    path = cloud_folder.folder / "data" / "fleet.sqlite"
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    assert cloud_folder.ask() == "light_on"
    began = time.monotonic()
    assert cloud_folder.run("audit").returncode == 0
    unlocked = time.monotonic() - began
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("PRAGMA busy_timeout=20000")
        other.execute("BEGIN EXCLUSIVE")
        assert status(cloud_folder)["ready"]
        for words in (("freeze", "home"), ("observe", "home")):
            began = time.monotonic()
            done = cloud_folder.run(*words)
            taken = time.monotonic() - began
            assert done.returncode == 75, done.stderr
            [line] = done.stderr.splitlines()
            assert "held the fleet's database for 5 s; nothing was changed, try again" in line
            assert taken < 5.0 + 3.0 * unlocked
        os.kill(cloud_folder.pid(), 9)
        locked_at = time.monotonic()
        assert cloud_folder.ask() == "light_on"  # the one that waited has opened the door beside the lock
        print(f"answered {time.monotonic() - locked_at:.1f} s after a kill under a foreign lock")
        other.execute("ROLLBACK")
    assert cloud_folder.run("freeze", "home").returncode == 0
    assert until(lambda: order(cloud_folder).release == 2, "orders")
