"""A certified release comes to a fleet in steps, and goes back by itself where a device or the watch says so."""

import time
from dataclasses import dataclass, field, replace

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.ordering import OrderBook
from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.fleet.rollouts.store import Rollouts
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.refresh.rollout.opening import RolloutOpening
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.store import ReleaseRow
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Mode
from router.core.release.orders import Order
from router.core.release.reports import DeviceReport, TaskReport
from router.core.release.rollout import RolloutState
from router.core.statistics.e_process import Certificate, attempt_alpha

COUNT = 12
ANSWERS = 50  # of each device between two of its reports


@dataclass
class Device:
    """What one device is."""

    name: str
    runs: int = 0
    answered: int = 0
    healthy: int = 0
    life: int = 1
    is_away: bool = False
    order: Order | None = None
    refused: list = field(default_factory=list)


class Devices:
    """Devices that report to the cluster of a world, and do what they are told or are made to do."""

    def __init__(self, world, count):
        self.world, self.now = world, 1_000_000.0
        tasks, publisher = world.config.tasks, world.publisher
        self.servicer = FleetServicer(
            world.store, Fleet(), insecure=True, tasks=tasks, publisher=publisher, clock=lambda: self.now
        )
        self.all = {f"device-{number}": Device(f"device-{number}") for number in range(count)}
        self.refuse = {}  # why every device refuses a release, by its content
        self.crash = set()  # contents under which agents start again and again
        self.slow = set()  # contents under which answers take long

    @property
    def rollouts(self):
        return self.world.refresher.rollouts

    def content(self, number):
        manifest = self.world.publisher.manifest("home", number)
        return manifest.number if manifest.content is None else manifest.content

    def report(self, device):
        if device.is_away:
            return
        content = self.content(device.runs)
        if content in self.crash:
            device.life, device.healthy, device.answered = device.life + 1, 0, 0
        else:
            device.healthy, device.answered = device.healthy + ANSWERS, device.answered + ANSWERS
        task = TaskReport(
            "home",
            device.runs,
            answered=device.answered,
            kept=device.answered,
            covered=device.answered,
            healthy_answers=device.healthy,
            p95_milliseconds=400.0 if content in self.slow else 4.0,
            refused=tuple(device.refused),
        )
        report = DeviceReport(device.name, tasks=(task,), life=f"{device.name}-{device.life}")
        [device.order] = self.servicer.answer(report).tasks
        self.obey(device)

    def obey(self, device):
        number = device.order.release
        if number == device.runs:
            return
        assert number > device.runs, "a device is told to go back to a lower number"
        why = self.refuse.get(self.content(number))
        if why is None:
            device.runs, device.healthy = number, 0
        else:
            device.refused = [(number, why)]

    def round(self, seconds=120.0):
        """Each device reports once, and the rollouts are looked at."""
        self.now += seconds
        for device in self.all.values():
            self.report(device)
        self.rollouts.step(self.now)

    def on(self, number):
        return {device.name for device in self.all.values() if device.runs == number}


@pytest.fixture
def fleet(world):
    """Devices that all run release 0, and a release that has just been certified."""
    devices = Devices(world, COUNT)
    devices.now = time.time()
    devices.round(0.0)
    certify(world, 1)
    return devices


def certify(world, number):
    """Promote a release as the refresher does."""
    task, store = world.config.task("home"), world.store
    alpha = attempt_alpha(task.at_device.assurance, 1)
    proof = Certificate(task.at_device.max_disagreement, alpha, 412, 1, 9.0, attempt=1)
    manifest, files = tiny_release(task, number, WORDS)
    digest = world.publisher.publish(replace(manifest, certificate=proof, judged_by=task.judge.value), files)
    store.add_release(ReleaseRow("home", number, "building", digest, 1.0))
    Lineages(store.engine).hold_judge(task, task.judge.value)
    RolloutOpening(store, world.publisher, world.config.rollout, world.config.fleet).of_certified("home", number)
    store.promote("home", number, digest, watch="quiet", exploration=0.05)


def rollout(fleet):
    return Rollouts(fleet.world.store.engine).history("home")[-1]


def until(fleet, *states, rounds=30):
    seen = []
    for _ in range(rounds):
        fleet.round()
        seen.append(len(fleet.on(rollout(fleet).number)))
        if rollout(fleet).state in states:
            return seen
    raise AssertionError(f"it is {rollout(fleet)}")


def first_step(fleet):
    """Until the device of the first step runs the release; its name."""
    number = rollout(fleet).number
    for _ in range(3):
        fleet.round()
    [device] = fleet.on(number)
    return device


def test_it_goes_to_one_to_a_quarter_and_to_all(fleet):
    assert (rollout(fleet).state, rollout(fleet).base) == (RolloutState.RUNNING, 0)
    seen = until(fleet, RolloutState.DONE)
    assert sorted(set(seen) - {0}) == [1, 3, 12]
    assert fleet.world.state.champion == rollout(fleet).number


def test_whoever_reports_while_it_is_rolled_back_is_not_told_to_take_it(fleet):
    """The gateway has read which release serves; then the rollout ends, and leaves that release to nobody."""
    bad = rollout(fleet).number
    fleet.crash = {bad}
    first = first_step(fleet)
    before = fleet.world.store.task_states()
    until(fleet, RolloutState.ROLLED_BACK)
    assert [state.champion for state in before] == [bad]
    others = {device: {"home": 0} for device in fleet.all if device != first}
    book = OrderBook(fleet.world.store, fleet.world.config.tasks, fleet.world.publisher)
    told = book.orders_of_all(others, before)
    assert {order.release for orders, _ in told.values() for order in orders} == {fleet.world.state.champion}


def test_a_small_fleet_takes_it_at_once(world):
    devices = Devices(world, 9)
    devices.now = time.time()
    devices.round(0.0)
    certify(world, 1)
    devices.round()
    assert len(devices.on(1)) == 9
    assert Rollouts(world.store.engine).history() == []


@pytest.mark.parametrize("fault", ["refuses", "crashes", "slow"])
def test_a_bad_release_is_stopped_in_the_first_step_and_all_are_back_on_the_former_one(fleet, fault):
    bad = rollout(fleet).number
    fleet.refuse = {bad: "its golden inputs differ"} if fault == "refuses" else {}
    fleet.crash, fleet.slow = ({bad} if fault == name else set() for name in ("crashes", "slow"))
    had = set()
    for _ in range(20):
        fleet.round()
        had |= fleet.on(bad)
        if rollout(fleet).state is RolloutState.ROLLED_BACK:
            break
    fleet.round()
    fleet.round()
    assert rollout(fleet).state is RolloutState.ROLLED_BACK
    assert len(had) <= 1
    assert {fleet.content(device.runs) for device in fleet.all.values()} == {0}
    assert len(fleet.on(fleet.world.state.champion)) == COUNT
    row = {row.number: row for row in fleet.world.store.releases("home")}[bad]
    assert (row.state, row.reason) == ("rejected", f"rolled back: {rollout(fleet).why}")


def test_what_is_refused_is_told_with_its_reason(fleet):
    fleet.refuse = {rollout(fleet).number: "its golden inputs differ"}
    until(fleet, RolloutState.ROLLED_BACK)
    assert "refuses it: its golden inputs differ" in rollout(fleet).why


def test_no_data_means_no_step(fleet):
    device = fleet.all[first_step(fleet)]
    device.is_away = True
    for _ in range(10):
        fleet.round()
    assert (rollout(fleet).state, rollout(fleet).step) == (RolloutState.RUNNING, 0)
    device.is_away = False
    until(fleet, RolloutState.DONE)


def test_a_device_that_was_away_all_the_time_gets_what_serves(fleet):
    away = next(one for one in fleet.all.values() if one.name != first_step(fleet))
    away.is_away = True
    bad = rollout(fleet).number
    fleet.crash = {bad}
    until(fleet, RolloutState.ROLLED_BACK)
    away.is_away = False
    fleet.round()
    assert away.runs == fleet.world.state.champion > bad


def test_a_canary_that_comes_back_after_the_rollback_gets_the_former_release(fleet):
    canary = fleet.all[first_step(fleet)]
    canary.is_away = True
    bad = rollout(fleet).number
    Rollouts(fleet.world.store.engine).change(rollout(fleet), state=RolloutState.HALTED, why="by hand")
    fleet.round()
    assert rollout(fleet).state is RolloutState.ROLLED_BACK
    canary.is_away = False
    fleet.round()
    assert canary.runs == fleet.world.state.champion > bad


def test_while_it_is_halted_the_canary_keeps_nothing_and_nobody_else_takes_it(fleet):
    canary = first_step(fleet)
    Rollouts(fleet.world.store.engine).change(rollout(fleet), state=RolloutState.HALTED, why="by hand")
    number = rollout(fleet).number
    for device in fleet.all.values():
        fleet.report(device)
    assert fleet.all[canary].order.mode is Mode.ESCALATE_ALL
    assert fleet.on(number) == {canary}


def test_a_device_in_quarantine_is_not_asked_how_it_is(fleet):
    canary = first_step(fleet)
    Quarantines(fleet.world.store.engine).begin("home", canary, fleet.now, "by hand")
    until(fleet, RolloutState.DONE)


def test_a_device_whose_number_is_lost_is_never_told_a_lower_one(fleet):
    number, canary = rollout(fleet).number, first_step(fleet)
    with fleet.world.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM rollout_devices")
    fleet.round()
    assert fleet.all[canary].runs == number


def test_a_rollout_goes_on_after_a_restart(fleet):
    first_step(fleet)
    fleet.world.start()
    until(fleet, RolloutState.DONE)


def test_one_that_was_written_down_and_never_promoted_reaches_nobody(fleet):
    until(fleet, RolloutState.DONE)
    champion = fleet.world.state.champion
    fields = {"content": 99, "number": 99, "base": champion, "base_sha256": "", "steps": (1.0,)}
    Rollouts(fleet.world.store.engine).add("home", RolloutState.RUNNING, now=fleet.now, **fields)
    fleet.round()
    assert rollout(fleet).state is RolloutState.SUPERSEDED
    assert len(fleet.on(champion)) == COUNT


def test_the_refresher_rolls_out_what_it_certifies_and_fits_nothing_meanwhile(world):
    devices = Devices(world, 10)
    devices.now = time.time()
    devices.round(0.0)
    world.until_certified()
    assert (rollout(devices).number, rollout(devices).state) == (world.state.champion, RolloutState.RUNNING)
    fits = len(world.fitted_rows)
    for _ in range(4):
        world.ask_and_step(200)
    assert len(world.fitted_rows) == fits
    assert world.refresher.contexts["home"].loop.is_held


def test_what_loses_under_the_first_device_goes_back_and_is_noted_as_broken(world):
    devices = Devices(world, 10)
    devices.now = time.time()
    devices.round(0.0)
    world.until_certified()
    bad = world.state.champion
    world.truth = dict.fromkeys(world.truth, "something else")
    for _ in range(10):
        world.ask_and_step(100)
        devices.round()
        if rollout(devices).state is RolloutState.ROLLED_BACK:
            break
    assert rollout(devices).state is RolloutState.ROLLED_BACK
    assert rollout(devices).why.startswith("it lost ")
    row = {row.number: row for row in world.store.releases("home")}[bad]
    assert (row.state, row.alarmed) == ("rejected", True)
    world.refresher.step()
    assert devices.content(world.state.champion) == 0
    assert not Quarantines(world.store.engine).lasting()
