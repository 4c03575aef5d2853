"""A release serves only while its certificate speaks for the task as it is configured, from the first report on."""

from dataclasses import replace

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.first_release import publish_first_releases, publish_objectives
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import mark_alarmed, mark_fallen, roll_back
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.overrides import Override, Overrides
from cloud_worker.state.store import ReleaseRow, Store
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.certification.certificate_validity import OVERTAKEN, as_promised_now
from router.core.domain.task import Cheaper, Exploration, Judge, Kind, Mode, Objective, Privacy, Task
from router.core.policy.exploration import SEED_BYTES
from router.core.release.reports import DeviceReport
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.transport import telemetry_names
from router.transport.channel import open_channel
from router.transport.fleet_wire import orders_from_proto, report_to_proto
from router.transport.server import Door
from router.v1 import fleet_pb2_grpc

LABELS = tuple(sorted(set(WORDS.values())))
TASK = Task("home", reference="big", labels=LABELS)


def proof_of(task, attempt=1):
    return Certificate(
        task.at_device.max_disagreement, attempt_alpha(task.at_device.assurance, attempt), 412, 1, 9.0, attempt=attempt
    )


class Cluster:
    """A store and its releases; ``up`` opens the real door of a gateway's Fleet service, as a start does."""

    def __init__(self, folder):
        self.store = Store(f"sqlite:///{folder / 'fleet.sqlite'}")
        self.publisher = Publisher(folder / "releases")
        self.door = self.channel = None

    def serve(self, task, number=1, **changes):
        """Let a certified release serve, as the refresher promotes it."""
        self.store.declare_tasks([task])
        manifest, files = tiny_release(task, number, WORDS)
        manifest = replace(manifest, certificate=proof_of(task), judged_by=task.judge.value, **changes)
        digest = self.publisher.publish(manifest, files)
        self.store.add_release(ReleaseRow(task.name, number, "building", digest, 1.0))
        self.store.update_release(task.name, number, local_share=0.8)
        self.store.promote(task.name, number, digest, watch="quiet", exploration=task.exploration.floor)
        Lineages(self.store.engine).hold_judge(task, task.judge.value)

    async def up(self, *tasks):
        """Start again with these tasks."""
        await self.down()
        self.store.declare_tasks(tasks)
        publish_first_releases(tasks, self.store, self.publisher)
        publish_objectives(tasks, self.store, self.publisher)
        self.door = Door("127.0.0.1:0", insecure=True)
        servicer = FleetServicer(self.store, Fleet(), insecure=True, tasks=tasks, publisher=self.publisher)
        fleet_pb2_grpc.add_FleetServicer_to_server(servicer, self.door.server)
        self.channel = open_channel(f"127.0.0.1:{await self.door.start()}", insecure=True)

    async def sync(self, device="kitchen"):
        stub = fleet_pb2_grpc.FleetStub(self.channel)
        metadata = ((telemetry_names.META_DEVICE, device),)
        return orders_from_proto(await stub.Sync(report_to_proto(DeviceReport(device)), metadata=metadata, timeout=60))

    async def order(self):
        [order] = (await self.sync()).tasks
        return order

    async def down(self):
        if self.channel is not None:
            await self.channel.close()
            await self.door.stop(0.1)

    def promise(self, task):
        return Promises([task], self.store, self.publisher).gather()[task.name].as_json()

    def lay(self, **changes):
        Overrides(self.store.engine).lay("test", "home", who="me", why="", now=1.0, **changes)


@pytest.fixture
async def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    await cluster.down()


STRICTER = {
    "1 %": {"objective": Objective(0.01)},
    "0.5 %": {"objective": Objective(0.005)},
    "a hair less": {"objective": Objective(0.0199)},
    "99 % sure": {"objective": Objective(assurance=0.99)},
    "less, and a share of escalations": {"objective": Objective(0.01, max_escalation=0.5)},
    "a part for the pool": {"cheaper": Cheaper(("small",), share=0.3)},
    "another judge": {"judge": Judge.NORMALISED_TEXT},
    "another reference": {"reference": "other"},
    "another kind": {"kind": Kind.TEXT, "judge": Judge.NORMALISED_TEXT},
    "a label less": {"labels": LABELS[:-1]},
    "a label by another name": {"labels": (*LABELS[:-1], "renamed")},
}


@pytest.mark.parametrize("changes", STRICTER.values(), ids=STRICTER)
async def test_a_stricter_task_binds_with_the_first_report_after_the_start(cluster, changes):
    cluster.serve(TASK)
    await cluster.up(TASK)
    assert (await cluster.order()).mode is Mode.SERVE
    stricter = replace(TASK, **changes)
    await cluster.up(stricter)
    order = await cluster.order()
    assert (order.mode, order.watch) == (Mode.ESCALATE_ALL, "unproven")
    told = cluster.promise(stricter)
    assert told["state"] == "unproven"
    assert told["why"].endswith("everything escalates")


LOOSER = {
    "5 %": {"objective": Objective(0.05)},
    "80 % sure": {"objective": Objective(assurance=0.8)},
    "a wish beside it": {"objective": Objective(0.02, max_escalation=0.5)},
    "an accuracy, which is a promise of its own": {"objective": Objective(0.02, min_accuracy=0.9)},
    "a label more": {"labels": (*LABELS, "new")},
    "no labels named": {"labels": ()},
    "more explored": {"exploration": Exploration(floor=0.2)},
}


@pytest.mark.parametrize("changes", LOOSER.values(), ids=LOOSER)
async def test_what_is_no_stricter_keeps_the_certificate(cluster, changes):
    cluster.serve(TASK)
    looser = replace(TASK, **changes)
    await cluster.up(looser)
    order = await cluster.order()
    assert (order.mode, order.release) == (Mode.SERVE, 1)
    assert order.exploration == looser.exploration.floor
    assert cluster.promise(looser)["state"] == "proven"


async def test_a_larger_part_for_the_pool_leaves_the_devices_less_than_was_proved(cluster):
    task = replace(TASK, cheaper=Cheaper(("small",), share=0.3))
    cluster.serve(task)
    for share, mode in ((0.3, Mode.SERVE), (0.2, Mode.SERVE), (0.5, Mode.ESCALATE_ALL)):
        await cluster.up(replace(task, cheaper=Cheaper(("small",), share=share)))
        assert (await cluster.order()).mode is mode, share


async def test_a_wish_that_is_taken_back_finds_the_certificate_as_it_was(cluster):
    cluster.serve(TASK)
    for promised, mode in (
        (0.01, Mode.ESCALATE_ALL),
        (0.02, Mode.SERVE),
        (0.03, Mode.SERVE),
        (0.005, Mode.ESCALATE_ALL),
    ):
        await cluster.up(replace(TASK, objective=Objective(promised)))
        assert (await cluster.order()).mode is mode


async def test_a_pin_by_force_serves_under_a_stricter_task_and_is_told_as_unproven(cluster):
    cluster.serve(TASK)
    stricter = replace(TASK, objective=Objective(0.01))
    cluster.lay(pinned=1, forced=True)
    await cluster.up(stricter)
    assert (await cluster.order()).mode is Mode.SERVE
    assert cluster.promise(stricter)["state"] == "unproven"
    cluster.lay(pinned=None, forced=False)
    assert (await cluster.order()).mode is Mode.ESCALATE_ALL


async def test_a_pin_without_force_keeps_nothing_once_its_certificate_has_fallen(cluster):
    cluster.serve(TASK)
    cluster.lay(pinned=1)
    await cluster.up(replace(TASK, objective=Objective(0.01)))
    order = await cluster.order()
    assert (order.mode, order.release) == (Mode.ESCALATE_ALL, 1)


async def test_a_pin_by_force_of_another_release_lets_this_one_keep_nothing(cluster):
    cluster.serve(TASK, 1)
    cluster.serve(TASK, 2)
    cluster.lay(pinned=1, forced=True)  # and the refresher has not obeyed yet
    await cluster.up(replace(TASK, objective=Objective(0.01)))
    order = await cluster.order()
    assert (order.mode, order.release) == (Mode.ESCALATE_ALL, 2)


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ESCALATE_ALL])
async def test_the_operators_hand_stays_under_a_stricter_task(cluster, mode):
    cluster.serve(TASK)
    cluster.lay(mode=mode)
    await cluster.up(replace(TASK, objective=Objective(0.01)))
    assert (await cluster.order()).mode is mode


async def test_what_has_alarmed_keeps_nothing_whatever_its_watch_says(cluster):
    cluster.serve(TASK)
    mark_alarmed(cluster.store, "home", 1)
    await cluster.up(TASK)
    assert (await cluster.order()).mode is Mode.ESCALATE_ALL
    assert (
        Certificates(cluster.store, cluster.publisher).why_fallen(cluster.publisher.manifest("home", 1), TASK)
        == "it broke its promise"
    )


async def test_a_noted_fall_stands_until_it_is_taken_back(cluster):
    cluster.serve(TASK)
    mark_fallen(cluster.store, "home", 1, OVERTAKEN)
    await cluster.up(TASK)
    assert (await cluster.order()).mode is Mode.ESCALATE_ALL
    mark_fallen(cluster.store, "home", 1, "")
    await cluster.up(TASK)
    assert (await cluster.order()).mode is Mode.SERVE


async def test_a_release_whose_manifest_is_lost_keeps_nothing(cluster):
    cluster.serve(TASK)
    await cluster.up(TASK)
    (cluster.publisher.path("home", 1) / "manifest.json").unlink()
    cluster.lay(frozen=True)  # so that it is looked at again
    assert (await cluster.order()).mode is Mode.ESCALATE_ALL


def test_content_of_another_version_is_never_taken_for_this_ones(cluster):
    cluster.serve(TASK)
    second = replace(TASK, version=2)
    cluster.store.declare_tasks([second])
    number = roll_back(cluster.store, cluster.publisher, second, 1, watch="unproven")  # pinned by force
    manifest = cluster.publisher.manifest("home", number)
    assert "version 1" in Certificates(cluster.store, cluster.publisher).why_fallen(manifest, second)


def test_a_release_that_serves_again_keeps_what_it_was_made_for_and_takes_what_is_wished():
    now = replace(TASK, reference="small", version=3, local_only=True, cheaper=Cheaper(("big",)))
    again = as_promised_now(TASK, now)
    assert (again.version, again.reference, again.local_only) == (1, "big", True)


@pytest.mark.parametrize("student", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{"local_only": True}, {"log_by_default": False}, {"max_text_bytes": 100}, {"privacy": Privacy(("mail",))}],
)
async def test_what_devices_read_of_their_task_binds_with_the_first_report_after_the_start(cluster, student, changes):
    if student:
        cluster.serve(TASK)
    await cluster.up(TASK)
    before = await cluster.order()
    wished = replace(TASK, **changes)
    await cluster.up(wished)
    order = await cluster.order()
    assert order.release > before.release
    manifest = cluster.publisher.manifest("home", order.release)
    assert {key: getattr(manifest.task, key) for key in changes} == changes
    assert (manifest.student is not None) is student
    await cluster.up(wished)
    assert (await cluster.order()).release == order.release


async def test_devices_are_still_told_their_seed_and_the_tasks_that_are_configured_alone(cluster):
    cluster.serve(TASK)
    await cluster.up(TASK, Task("car", reference="big"))
    assert [order.task for order in (await cluster.sync()).tasks] == ["car", "home"]
    await cluster.up(TASK)
    orders = await cluster.sync()
    assert [order.task for order in orders.tasks] == ["home"]
    assert len(orders.seed) == SEED_BYTES


def test_hands_of_all_tasks_are_those_of_each(cluster):
    cluster.store.declare_tasks([TASK, Task("car", reference="big")])
    cluster.lay(pinned=3, forced=True, mode=Mode.OBSERVE)
    overrides = Overrides(cluster.store.engine)
    assert overrides.of_all() == {name: overrides.of(name) for name in ("home", "car")}
    assert overrides.of("car") == Override()
