import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.report_groups import Came, ReportGroups
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.state.tallies import Tallies
from cloud_worker.state.traffic import SLOT_SECONDS, Traffic
from router.core.domain.task import Task
from router.core.errors import NotPossibleError, UnavailableError
from router.core.release.orders import Orders
from router.core.release.reports import DeviceReport, TaskReport

NAMES = [f"device-{position}" for position in range(20)]


@pytest.fixture
def store(state_url):
    store = Store(state_url)
    store.declare_tasks([Task("home", reference="big")])
    store.add_release(ReleaseRow("home", 1, "champion", "ab" * 32, created_at=1.0))
    store.promote("home", 1, "ab" * 32)
    return store


def said(device, answered, **more):
    task = TaskReport("home", 1, answered=answered, covered=answered, exploration=0.5)
    return DeviceReport(device, tasks=(task,), **more)


def servicer(store, most=100):
    return FleetServicer(store, Fleet(max_devices=most), insecure=True)


def group(answered, at, names=NAMES):
    return [Came(said(name, answered), at) for name in names]


def test_a_group_is_counted_as_its_reports_one_by_one(store):
    fleet = servicer(store)
    fleet.answer_all(group(10, 600.0))
    answers = fleet.answer_all(group(17, 660.0))
    assert [answer.seed for answer in answers] == [store.device(name).seed for name in NAMES]
    assert len({answer.seed for answer in answers}) == len(NAMES)
    (sums,) = Tallies(store.engine).of_task("home")
    assert sums.answered == 17 * len(NAMES)
    passed = Traffic(store.engine).between("home", 660.0, 660.0 + SLOT_SECONDS)
    assert (passed.answered, passed.planned) == (7 * len(NAMES), 3.5 * len(NAMES))
    assert Tallies(store.engine).states([1.0], 660.0)[0] == {"ok": len(NAMES)}


def test_a_group_asks_the_store_hardly_more_than_one_report(store):
    fleet, asked = servicer(store), []
    fleet.answer_all(group(1, 600.0))
    event.listen(store.engine, "before_cursor_execute", lambda *_: asked.append(1))
    fleet.answer_all(group(2, 610.0, NAMES[:1]))
    alone = len(asked)
    fleet.answer_all(group(3, 620.0))
    assert len(asked) - alone <= alone


def test_two_gateways_that_meet_the_same_devices_lose_and_double_nothing(state_url, store):
    fleets = [servicer(store), servicer(Store(state_url))]
    fleets[0].answer_all(group(0, 600.0))

    def report(gateway):
        names = NAMES if gateway else NAMES[::-1]
        return [fleets[gateway].answer_all(group(count, 600.0 + count, names)) for count in range(1, 11)]

    with ThreadPoolExecutor(2) as gateways:
        answers = [one for groups in gateways.map(report, range(2)) for told in groups for one in told]
    assert [one for one in answers if not isinstance(one, Orders)] == []
    (sums,) = Tallies(store.engine).of_task("home")
    assert sums.answered == sum(device.report.tasks[0].answered for device in store.devices())
    assert len({one.seed for one in answers}) == len(NAMES)


def test_one_that_is_refused_keeps_no_other_out(store):
    fleet = servicer(store, most=2)
    for name in NAMES[:2]:
        fleet.answer(said(name, 1), 600.0)
        Registry(store, 2).use(name)
    first, stranger, last = fleet.answer_all(group(2, 610.0, [NAMES[0], "stranger", NAMES[1]]))
    assert isinstance(stranger, NotPossibleError)
    assert isinstance(first, Orders)
    assert isinstance(last, Orders)
    assert store.find_device(NAMES[1]).report.tasks[0].answered == 2


def test_one_that_can_not_be_kept_keeps_no_other_out(store, monkeypatch):
    fleet = servicer(store)
    fleet.answer_all(group(1, 600.0))
    keep = Store.save_reports

    def broken(self, reports, also=None):
        def write(connection):
            also(connection)
            if NAMES[3] in reports:
                raise ValueError("this report breaks it")

        keep(self, reports, write)

    monkeypatch.setattr(Store, "save_reports", broken)
    answers = fleet.answer_all(group(2, 660.0))
    assert [position for position, answer in enumerate(answers) if isinstance(answer, Exception)] == [3]
    kept = {device.id: device.report.tasks[0].answered for device in store.devices()}
    assert kept == dict.fromkeys(NAMES, 2) | {NAMES[3]: 1}
    others = len(NAMES) - 1
    assert Tallies(store.engine).of_task("home")[0].answered == 2 * others + 1
    assert Traffic(store.engine).between("home", 660.0, 720.0).answered == others  # nothing twice


def test_while_the_store_fails_nobody_is_tried_alone(store, monkeypatch):
    fleet, tries = servicer(store), []

    def failing(self, reports, also=None):
        tries.append(len(reports))
        raise UnavailableError("held by another program")

    monkeypatch.setattr(Store, "save_reports", failing)
    with pytest.raises(UnavailableError):
        fleet.answer_all(group(1, 600.0))
    assert tries == [len(NAMES)]


def test_what_is_ordered_by_an_operator_is_in_the_next_group(store):
    fleet = servicer(store)
    fleet.answer_all(group(1, 600.0))
    store.update_task("home", watch="alarmed")
    assert {answer.tasks[0].mode.name for answer in fleet.answer_all(group(2, 610.0))} == {"ESCALATE_ALL"}


class Held:
    """Answers groups once it may, and keeps what they were."""

    def __init__(self):
        self.may, self.begun, self.groups = threading.Event(), threading.Event(), []

    def answer_all(self, group):
        self.groups.append([(one.report.device, one.at) for one in group])
        self.begun.set()
        assert self.may.wait(30)
        return [
            ValueError(one.report.device) if one.report.device == "bad" else Orders((), 1.0, now=one.at)
            for one in group
        ]


async def test_who_comes_meanwhile_is_one_group_and_a_device_has_one_report_in_it():
    held = Held()
    groups = ReportGroups(held.answer_all)
    first = asyncio.create_task(groups.answer(Came(DeviceReport("a"), 0.0)))
    assert await asyncio.to_thread(held.begun.wait, 30)
    came = [("a", 1.0), ("b", 2.0), ("a", 3.0), ("bad", 4.0), ("gone", 5.0)]
    waiting = [asyncio.create_task(groups.answer(Came(DeviceReport(name), at))) for name, at in came]
    await asyncio.sleep(0)  # they wait now
    waiting[-1].cancel()
    held.may.set()
    answers = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert held.groups == [[("a", 0.0)], [("a", 1.0), ("b", 2.0), ("bad", 4.0)], [("a", 3.0)]]
    assert [answer.now for answer in answers[:4]] == [0.0, 1.0, 2.0, 3.0]
    assert isinstance(answers[4], ValueError)
    assert isinstance(answers[5], asyncio.CancelledError)


async def test_a_group_that_fails_fails_for_each_and_for_nobody_after_it():
    fails = [True]

    def answer_all(group):
        if fails.pop():
            raise UnavailableError("held by another program")
        return [Orders((), 1.0) for _ in group]

    groups = ReportGroups(answer_all)
    with pytest.raises(UnavailableError):
        await groups.answer(Came(DeviceReport("a"), 0.0))
    fails.append(False)
    assert await groups.answer(Came(DeviceReport("a"), 1.0)) == Orders((), 1.0)
