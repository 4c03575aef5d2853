"""An operator override from the store to a device: the real services, and a real agent, without Ray."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.gateway.releases_service import ReleasesServicer
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.released_files import ReleasedFiles
from cloud_worker.releases.rollback import roll_back
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.state.traffic import Traffic
from edge_agent.config import Config
from edge_agent.daemon import Daemon
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.query import Query, Tier
from router.core.domain.task import Mode, Task
from router.core.release.reports import DeviceReport
from router.transport.channel import open_channel
from router.transport.server import Door
from router.transport.wire import answer_from_proto, query_to_proto
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2_grpc

TASK = Task("home", reference="big")
OTHER = {**WORDS, "lamp": "music"}  # what the later release says otherwise


@pytest.fixture
def fleet(tmp_path):
    """Releases 1 and 2 have served; 2 does."""
    store, publisher = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), Publisher(tmp_path / "releases")
    store.declare_tasks([TASK])
    for number, words in ((1, WORDS), (2, OTHER)):
        digest = publisher.publish(*tiny_release(TASK, number, words))
        store.add_release(ReleaseRow("home", number, "building", "", 0.0, local_share=0.8))
        store.promote("home", number, digest, watch="quiet", exploration=0.0)
    return SimpleNamespace(store=store, publisher=publisher, overrides=Overrides(store.engine), folder=tmp_path)


@pytest.fixture
async def device(fleet):
    door = Door("127.0.0.1:0", insecure=True)
    servicer = FleetServicer(fleet.store, Fleet(sync_seconds=0.1), insecure=True)
    fleet_pb2_grpc.add_FleetServicer_to_server(servicer, door.server)
    release_pb2_grpc.add_ReleasesServicer_to_server(
        ReleasesServicer(ReleasedFiles(Publisher(fleet.folder / "releases"))), door.server
    )
    port = await door.start()
    config = Config(
        device="kitchen",
        data=fleet.folder / "device",
        door={"listen": "127.0.0.1:0"},
        upstream={"target": f"127.0.0.1:{port}"},
    )
    daemon, stop = Daemon(config, insecure=True), asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    async with asyncio.timeout(120):
        await daemon.opened.wait()
    channel = open_channel(f"127.0.0.1:{daemon.port}", insecure=True, attempts=1)
    yield SimpleNamespace(stub=cascade_pb2_grpc.CascadeStub(channel), daemon=daemon)
    await channel.close(None)
    stop.set()
    await asyncio.wait_for(running, 120)
    await door.stop(0.1)


async def until(holds):
    async with asyncio.timeout(120):
        while not holds():  # noqa: ASYNC110 - another process's state, and no event tells
            await asyncio.sleep(0.02)


def reported(fleet):
    reports = [device.report for device in fleet.store.devices() if device.report]
    return {task.active_release for report in reports for task in report.tasks}


async def ask(device, text):
    response = await device.stub.Answer(query_to_proto(Query("", "home", text)), timeout=60, wait_for_ready=True)
    return answer_from_proto(response)


async def test_a_device_takes_a_rollback_under_its_new_number_and_answers_as_before(fleet, device):
    await until(lambda: reported(fleet) == {2})
    assert (await ask(device, "lamp")).text == "music"
    number = roll_back(fleet.store, fleet.publisher, TASK, 1, watch="quiet")
    assert number == 3
    await until(lambda: reported(fleet) == {3})
    answer = await ask(device, "lamp")
    assert (answer.text, answer.provenance.tier, answer.provenance.release) == ("lights", Tier.DEVICE, 3)
    assert {row.number: row.state for row in fleet.store.releases("home")} == {
        1: "retired",
        2: "retired",
        3: "champion",
    }


async def test_the_old_number_itself_is_refused_by_a_device(fleet, device):
    await until(lambda: reported(fleet) == {2})
    old = next(row for row in fleet.store.releases("home") if row.number == 1)
    fleet.store.update_task("home", champion=1, manifest_sha256=old.manifest_sha256)

    def refused():
        reports = [one.report for one in fleet.store.devices() if one.report]
        return {reason for report in reports for task in report.tasks for number, reason in task.refused if number == 1}

    await until(refused)
    assert "older than 2" in refused().pop()
    assert (await ask(device, "lamp")).provenance.release == 2


async def test_a_device_obeys_the_mode_that_the_operator_lays(fleet, device):
    await until(lambda: reported(fleet) == {2})
    fleet.overrides.lay("observe", "home", who="me", why="", now=1.0, mode=Mode.OBSERVE)
    await until(lambda: device.daemon.tasks.get("home").mode is Mode.OBSERVE)
    fleet.overrides.lay("serve", "home", who="me", why="", now=2.0, mode=Mode.SERVE)
    await until(lambda: device.daemon.tasks.get("home").mode is Mode.SERVE)


async def test_what_devices_answer_is_counted_from_their_reports(fleet, device):
    await until(lambda: reported(fleet) == {2})
    for _ in range(3):
        await ask(device, "lamp")
    traffic = Traffic(fleet.store.engine)
    await until(lambda: traffic.between("home", 0.0, time.time() + 120).answered == 3)


@pytest.mark.parametrize(
    ("watch", "mode", "told"),
    [
        ("alarmed", Mode.SERVE, Mode.ESCALATE_ALL),
        ("alarmed", Mode.OBSERVE, Mode.OBSERVE),
        ("blind", Mode.SERVE, Mode.SERVE),
        ("unproven", Mode.SERVE, Mode.SERVE),
    ],
)
def test_only_an_alarm_has_everything_escalate_by_itself(fleet, watch, mode, told):
    fleet.store.update_task("home", watch=watch, mode=mode.value)
    servicer = FleetServicer(fleet.store, Fleet(), insecure=True)
    (order,) = servicer.answer(DeviceReport("kitchen")).tasks
    assert (order.mode, order.watch) == (told, watch)


def test_content_of_a_content_is_named_by_its_first_number(fleet):
    first = roll_back(fleet.store, fleet.publisher, TASK, 1, watch="quiet")
    wished = replace(TASK, labels=("new",), max_text_bytes=99)
    again = roll_back(fleet.store, fleet.publisher, wished, first, watch="quiet")
    manifest = fleet.publisher.manifest("home", again)
    assert (manifest.number, manifest.content) == (4, 1)
    made_for = fleet.publisher.manifest("home", 1).task
    assert (manifest.task.labels, manifest.task.max_text_bytes) == (made_for.labels, 99)
