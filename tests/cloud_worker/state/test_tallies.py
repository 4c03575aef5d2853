"""What all devices report together is known without reading their reports."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_worker.state.store import Store
from cloud_worker.state.tallies import Tallies
from router.core.release.reports import DeviceReport, TaskReport


@pytest.fixture
def url(state_url):
    return state_url


def report(store, name, at, pending=0, state="ok", **counts):
    store.device(name)
    tasks = tuple(TaskReport(task, *[0, 0], answered, covered=answered // 2) for task, answered in counts.items())
    store.save_report(DeviceReport(name, tasks=tasks, outbox_pending=pending, state=state), at)


def sums(store, task="home"):
    return [(one.answered, one.covered, one.degraded) for one in Tallies(store.engine).of_task(task)]


def test_the_sums_of_a_task_are_those_of_the_latest_reports(url):
    store = Store(url)
    assert sums(store) == []
    report(store, "kitchen", 1.0, home=10)
    report(store, "hall", 1.0, home=100, car=4)
    report(store, "kitchen", 2.0, home=30)
    assert (sums(store), sums(store, "car")) == ([(130, 65, 0)], [(4, 2, 0)])
    report(store, "hall", 3.0, home=2)  # it has started anew, without the other task
    assert (sums(store), sums(store, "car")) == ([(32, 16, 0)], [(0, 0, 0)])


def test_a_device_that_is_removed_takes_its_part_along(url):
    store = Store(url)
    report(store, "kitchen", 1.0, home=10)
    report(store, "hall", 1.0, home=100, pending=7)
    assert store.remove_device("hall") and not store.remove_device("hall")
    assert sums(store) == [(10, 5, 0)]
    assert Tallies(store.engine).held_back_since(0.0) == {}
    assert [device.id for device in store.devices()] == ["kitchen"]


def test_what_is_held_back_is_that_of_devices_heard_since(url):
    store = Store(url)
    report(store, "kitchen", 10.0, pending=5)
    report(store, "hall", 20.0, pending=7)
    report(store, "hall", 30.0, pending=2)
    tallies = Tallies(store.engine)
    assert [tallies.held_back_since(at) for at in (0.0, 10.0, 31.0)] == [{"hall": 2, "kitchen": 5}, {"hall": 2}, {}]


def test_devices_are_counted_by_age_and_by_what_they_say(url):
    store = Store(url)
    for name, at, state in (("a", 99.0, "ok"), ("b", 98.0, "disk_full"), ("c", 80.0, "ok"), ("d", 1.0, "ok")):
        report(store, name, at, state=state)
    assert Tallies(store.engine).states([10.0, 50.0], 100.0) == [{"ok": 1, "disk_full": 1}, {"ok": 1}, {"ok": 1}]


def test_a_claim_without_end_counts_no_further_than_can_be_added(url):
    store = Store(url)
    for name in ("kitchen", "hall"):
        report(store, name, 1.0, pending=2**64 - 1, home=2**63 - 1)
    assert sums(store)[0][0] == 2**54
    assert Tallies(store.engine).held_back_since(0.0) == {"hall": 2**53, "kitchen": 2**53}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["home", "car"]), st.integers(0, 99)), max_size=12))
def test_the_sums_never_drift_from_the_reports(said):
    store = Store("sqlite://")
    last = {}
    for name, task, answered in said:
        report(store, name, 1.0, **{task: answered})
        last[name] = (task, answered)
    for task in ("home", "car"):
        expected = sum(answered for which, answered in last.values() if which == task)
        assert sum(one[0] for one in sums(store, task)) == expected
