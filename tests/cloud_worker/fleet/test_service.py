import grpc
import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.task import Exploration, Limits, Mode, Task
from router.core.policy.exploration import SEED_BYTES
from router.core.release.reports import DeviceReport, TaskReport
from router.transport import telemetry_names
from router.transport.channel import open_channel
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.transport.server import Door
from router.v1 import fleet_pb2_grpc

DIGEST = "ab" * 32


@pytest.fixture
def store(state_url):
    store = Store(state_url)
    store.declare_tasks([Task("home", reference="big"), Task("car", reference="big")])
    return store


@pytest.fixture
async def stub(store):
    door = Door("127.0.0.1:0", insecure=True)
    servicer = FleetServicer(store, Fleet(sync_seconds=10.0, jitter=0.2), insecure=True)
    fleet_pb2_grpc.add_FleetServicer_to_server(servicer, door.server)
    port = await door.start()
    channel = open_channel(f"127.0.0.1:{port}", insecure=True)
    yield fleet_pb2_grpc.FleetStub(channel)
    await channel.close()
    await door.stop(0.1)


async def sync(stub, report, caller="kitchen"):
    metadata = ((telemetry_names.META_DEVICE, caller),)
    return orders_from_proto(await stub.Sync(report_to_proto(report), metadata=metadata, timeout=60))


def publish(store, task, number):
    store.add_release(ReleaseRow(task, number, "champion", DIGEST, created_at=1.0))
    store.promote(task, number, DIGEST)


async def test_a_device_is_told_the_champion_of_every_task(store, stub):
    publish(store, "home", 0)
    publish(store, "car", 4)
    store.update_task("car", exploration=0.25, mode=Mode.OBSERVE, watch="quiet")
    orders = await sync(stub, DeviceReport("kitchen"))
    car, home = orders.tasks
    assert (car.task, car.release, car.manifest_sha256, car.exploration) == ("car", 4, DIGEST, 0.25)
    assert (car.mode, car.watch) == (Mode.OBSERVE, "quiet")
    assert (home.task, home.release, home.exploration) == ("home", 0, 1.0)


async def test_a_task_without_a_release_is_not_ordered_yet(store, stub):
    publish(store, "home", 0)
    assert [order.task for order in (await sync(stub, DeviceReport("kitchen"))).tasks] == ["home"]


async def test_a_seed_never_changes_and_is_one_devices_own(store, stub):
    first = await sync(stub, DeviceReport("kitchen"))
    again = await sync(stub, DeviceReport("kitchen"))
    other = await sync(stub, DeviceReport("car"), caller="car")
    assert len(first.seed) == SEED_BYTES
    assert first.seed == again.seed == store.device("kitchen").seed
    assert other.seed != first.seed


async def test_the_latest_report_is_kept(store, stub):
    for answered in (1, 2):
        await sync(stub, DeviceReport("kitchen", outbox_pending=3, tasks=(TaskReport("home", answered=answered),)))
    (device,) = store.devices()
    assert device.report == DeviceReport("kitchen", outbox_pending=3, tasks=(TaskReport("home", answered=2),))


async def test_intervals_are_spread(stub):
    intervals = {(await sync(stub, DeviceReport("kitchen"))).interval_seconds for _ in range(5)}
    assert len(intervals) == 5
    assert all(8.0 <= seconds <= 12.0 for seconds in intervals)


async def test_a_device_can_not_report_for_another(store, stub):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sync(stub, DeviceReport("kitchen"), caller="car")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "kitchen" in caught.value.details()
    assert store.devices() == []


async def test_devices_of_an_alarmed_task_escalate_everything(store, stub):
    publish(store, "home", 3)
    store.update_task("home", watch="alarmed")
    [order] = (await sync(stub, DeviceReport("kitchen"))).tasks
    assert (order.mode, order.watch, order.release) == (Mode.ESCALATE_ALL, "alarmed", 3)


@pytest.mark.parametrize(
    ("task", "mode"),
    [
        (Task("home", "big"), Mode.ESCALATE_ALL),
        (Task("home", "big", budget=Limits(queries_per_minute=5)), Mode.SERVE),
        (Task("home", "big", exploration=Exploration(floor=1.0)), Mode.SERVE),
    ],
)
async def test_while_a_change_is_suspected_the_reference_answers(store, task, mode):
    servicer = FleetServicer(store, Fleet(), insecure=True, tasks=[task])
    publish(store, "home", 1)
    store.update_task("home", exploration=0.05)
    assert servicer.answer(DeviceReport("kitchen")).tasks[0].mode is Mode.SERVE
    store.update_task("home", exploration=1.0)
    assert servicer.answer(DeviceReport("kitchen")).tasks[0].mode is mode


async def test_a_device_is_told_its_share_of_the_limits_and_that_nothing_is_left(store):
    task = Task("home", "big", budget=Limits(queries_per_minute=5, queries_per_day=8))
    servicer = FleetServicer(store, Fleet(), insecure=True, tasks=[task])
    publish(store, "home", 1)
    for name in ("kitchen", "hall"):
        store.device(name)
        Registry(store, 10).use(name)
    told = servicer.answer(DeviceReport("kitchen")).tasks[0]
    assert (told.queries_per_minute, told.queries_per_day) == (5, 4)
    for _ in range(8):
        FleetLimits(store).pay(task)
    assert servicer.answer(DeviceReport("kitchen")).tasks[0].queries_per_day == 0
