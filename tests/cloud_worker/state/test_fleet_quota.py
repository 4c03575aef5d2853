"""The fleet's account: one for all gateways, exact under haste, kept over kills."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.state.fleet_quota import FleetLimits, share_of_device
from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.task import Limits, Task
from router.core.errors import OverloadedError, SpentError
from router.core.release.reports import DeviceReport

NOON = 20_000 * 86_400 + 43_200.0
DAY = 86_400.0


@pytest.fixture
def url(state_url):
    return state_url


def limits_of(url, task, *, champion=1, now=NOON):
    store = Store(url)
    store.declare_tasks([task])
    if champion and not store.task_state(task.name).champion:
        store.add_release(ReleaseRow(task.name, champion, "champion", "ab" * 32, created_at=1.0))
        store.promote(task.name, champion, "ab" * 32)
    return FleetLimits(store, lambda: now)


def home(**limits):
    return Task("home", "big", budget=Limits(**limits))


def test_a_day_sees_no_more_queries_than_its_limit_and_says_that_it_is_spent(url):
    task = home(queries_per_day=2)
    limits = limits_of(url, task)
    assert [limits.pay(task) is not None for _ in range(2)] == [True, True]
    assert not limits.is_open(task)
    with pytest.raises(SpentError, match="'home' is reached for today"):
        limits.pay(task)
    assert limits_of(url, task, now=NOON + DAY).pay(task) is not None


def test_what_was_paid_survives_a_restart(url):
    task = home(queries_per_day=1)
    limits_of(url, task).pay(task)
    with pytest.raises(OverloadedError):
        limits_of(url, task).pay(task)


def test_money_is_paid_at_the_highest_price_so_far_and_settled_at_its_own(url):
    task = home(usd_per_day=1.0)
    limits = limits_of(url, task)
    first = limits.pay(task)
    limits.settle(task, first, 0.4)
    second = limits.pay(task)
    assert second.usd == 0.4
    assert limits.account("home").spent.usd == pytest.approx(0.8)
    assert not limits.is_open(task)  # a third might cost 0.4 too
    limits.settle(task, second, 0.1)
    assert limits.account("home").spent.usd == pytest.approx(0.5)
    assert limits.is_open(task)
    assert limits.pay(task).usd == 0.4  # a cheaper one since then lowers nothing


def test_a_price_that_comes_after_midnight_burdens_no_new_day(url):
    task = home(usd_per_day=1.0)
    payment = limits_of(url, task).pay(task)
    tomorrow = limits_of(url, task, now=NOON + DAY)
    tomorrow.pay(task)
    tomorrow.settle(task, payment, 0.9)
    assert tomorrow.account("home").spent.usd == 0.0


def test_gateways_that_hurry_together_do_not_exceed_the_limit(url):
    task = home(queries_per_day=7)
    gateways = [limits_of(url, task) for _ in range(4)]

    def pay(position):
        try:
            return gateways[position % 4].pay(task) is not None
        except OverloadedError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(pay, range(24))) == 7


def test_before_the_first_student_nothing_is_paid(url):
    task = home(queries_per_day=0)
    limits = limits_of(url, task, champion=0)
    assert limits.pay(task) is None
    assert limits.is_open(task)


def test_devices_share_a_limit_and_each_may_send_one():
    assert share_of_device(Limits(queries_per_day=10), 3) == 3
    assert share_of_device(Limits(queries_per_day=2), 3) == 1
    assert share_of_device(Limits(usd_per_day=1.0), 3) is None


def test_devices_in_use_on_the_last_day_share_a_limit(url):
    store = Store(url)
    registry = Registry(store, 100)
    for name, seen in (("a", 0.0), ("b", 5.0), ("c", DAY)):
        store.device(name)
        store.save_report(DeviceReport(name), seen)
        registry.use(name)
    store.device("stranger")
    assert registry.in_use_since(DAY + 1 - DAY) == 2


def test_made_up_devices_take_nothing_of_the_share_of_those_in_use(url):
    task = home(queries_per_day=100)
    store = Store(url)
    limits_of(url, task)
    clock = iter(range(1000, 10**9, 10)).__next__  # each later than what was counted holds
    fleet = FleetServicer(store, Fleet(), insecure=True, tasks=[task], clock=lambda: float(clock()))

    def share(name):
        [order] = fleet.answer(DeviceReport(name)).tasks
        return order.queries_per_day

    for name in ("kitchen", "hall"):
        share(name)
        Registry(store, 100).use(name)
    assert (share("kitchen"), share("hall")) == (50, 50)
    for number in range(48):
        share(f"stranger-{number}")
    assert (share("kitchen"), share("hall")) == (50, 50)
