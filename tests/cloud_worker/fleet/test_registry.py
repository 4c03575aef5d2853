"""Who may join a fleet, and who gives way."""

from dataclasses import asdict

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.ordered_rates import OrderedRates
from cloud_worker.fleet.registry import SILENT_SECONDS, Registry
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.fleet.turned_away import TurnedAway, What, turned_lines
from cloud_worker.state.traffic import Traffic
from router.core.errors import BadInputError, HeadraceError, NotPossibleError
from router.core.release.reports import DeviceReport, TaskReport


class Counts:
    def __init__(self):
        self.left_out = self.turned_away = 0

    def undeclared(self, tasks):
        self.left_out += tasks

    def refused(self):
        self.turned_away += 1


def test_status_tells_how_many_were_turned_away_and_who_came_last(store):
    fleet, _ = fleet_of(store, most=1)
    fleet.answer(DeviceReport("kitchen"))
    Registry(store, 1).use("kitchen")
    for name in ("\x1b[31mred", "garden", "hall"):
        with pytest.raises(HeadraceError):
            fleet.answer(DeviceReport(name))
    fleet.answer(DeviceReport("kitchen", tasks=(TaskReport("home"), TaskReport("made up"), TaskReport("mad\x1b"))))
    told = {what: asdict(turned) for what, turned in TurnedAway(store.engine).all().items()}
    assert [(one["times"], one["last"]) for one in told.values()] == [(3, "hall"), (2, "mad\\x1b")]
    devices, tasks = turned_lines(told, told["devices"]["at"] + 12)
    assert devices.startswith("turned away: 3 refused reports of devices, the last of 'hall' 12 s ago")
    assert "max_devices" in devices and "device kitchen" in tasks


def test_a_flood_of_made_up_names_takes_two_rows_and_few_writes(store):
    now = [100.0]
    turned = TurnedAway(store.engine, lambda: now[0])
    for number in range(5000):
        turned.add(What.DEVICE, f"stranger-{number}")
    assert turned.all()["devices"].times == 1
    now[0] += 1
    turned.flush()
    assert turned.all()["devices"].times == 5000
    assert turned_lines({}, 0.0) == []


def fleet_of(store, most=3, at=1000.0):
    counts = Counts()
    clock = iter(range(int(at), 10**9)).__next__
    fleet = FleetServicer(store, Fleet(max_devices=most), insecure=True, clock=lambda: float(clock()), metrics=counts)
    return fleet, counts


def names(store):
    return {device.id for device in store.devices()}


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "kitchen 1", "x" * 65, "\x1b[31m", "-a", "küche", "a\n", "anonymous"]
)
def test_a_name_that_no_agent_may_have_is_refused_and_leaves_nothing(store, name):
    fleet, counts = fleet_of(store)
    with pytest.raises(BadInputError, match="device is no name"):
        fleet.answer(DeviceReport(name))
    assert not store.devices() and counts.turned_away == 1


def test_what_is_said_of_tasks_that_nobody_declared_leaves_nothing(store):
    fleet, counts = fleet_of(store)
    fleet.answer(DeviceReport("kitchen"))
    said = [TaskReport("home", answered=10, covered=10, exploration=1.0)] * 3
    said += [TaskReport(f"made up {n}", answered=50, covered=50, exploration=1.0) for n in range(1000)]
    fleet.answer(DeviceReport("kitchen", tasks=tuple(said)))
    (device,) = store.devices()
    assert [task.task for task in device.report.tasks] == ["home"]
    assert counts.left_out == 1002
    traffic = Traffic(store.engine)
    assert traffic.between("home", 0.0, 1e6).answered == 10
    assert traffic.between("made up 1", 0.0, 1e6).answered == 0
    assert traffic.planned("made up 1", 0.0, 1e6) == {}
    assert list(OrderedRates(store.engine).of("kitchen")) == ["home"]


def test_strangers_never_fill_the_store_and_a_new_device_joins_all_the_same(store):
    fleet, _ = fleet_of(store, most=5)
    registry = Registry(store, 5)
    for name in ("kitchen", "hall"):
        fleet.answer(DeviceReport(name))
        registry.use(name)
    for number in range(50):
        fleet.answer(DeviceReport(f"stranger-{number}"))
    fleet.answer(DeviceReport("garden"))
    assert len(names(store)) == 5
    assert {"kitchen", "hall", "garden"} <= names(store)
    assert OrderedRates(store.engine).of("stranger-0") == {}


def test_a_fleet_in_which_all_are_in_use_takes_nobody_else_and_says_why(store):
    fleet, counts = fleet_of(store, most=2)
    registry = Registry(store, 2)
    for name in ("kitchen", "hall"):
        fleet.answer(DeviceReport(name))
        registry.use(name)
    with pytest.raises(NotPossibleError, match="max_devices"):
        fleet.answer(DeviceReport("garden"))
    assert counts.turned_away == 1
    assert fleet.answer(DeviceReport("hall")).tasks
    late, _ = fleet_of(store, most=2, at=1100.0 + SILENT_SECONDS)
    late.answer(DeviceReport("garden"))
    assert len(names(store)) == 2 and "garden" in names(store)
