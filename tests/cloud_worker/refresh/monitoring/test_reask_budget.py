"""A second answer is paid like a first one."""

import pytest

from cloud_worker.refresh.monitoring.reask_budget import paying
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.teachers.base import NoAnswer, TeacherAnswer
from router.core.domain.task import Limits, Task
from router.core.errors import UnavailableError


class Pool:
    """Answers at 0.1 USD each, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.fails = False

    def __call__(self, task, records):
        self.asked += [record.query_id for record in records]
        if self.fails:
            raise UnavailableError("away")
        return [NoAnswer("none") if one.text == "dumb" else TeacherAnswer("on", "v1", usd=0.1) for one in records]


def limited(tmp_path, **limits):
    task = Task("home", "big", budget=Limits(**limits))
    store = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    store.declare_tasks([task])
    store.add_release(ReleaseRow("home", 1, "champion", "ab" * 32, created_at=1.0))
    store.promote("home", 1, "ab" * 32)
    return task, FleetLimits(store)


def test_what_is_asked_again_counts_in_the_limits_and_what_is_over_is_not_asked(tmp_path, record):
    task, limits = limited(tmp_path, queries_per_day=3)
    pool = Pool()
    replies = paying(pool, limits)(task, [record(position) for position in range(5)])
    assert pool.asked == ["q0", "q1", "q2"]
    assert [reply is not None for reply in replies] == [True, True, True, False, False]
    with pytest.raises(UnavailableError, match="spent for today"):
        paying(pool, limits)(task, [record(5)])
    assert len(pool.asked) == 3


def test_it_is_settled_at_its_price(tmp_path, record):
    task, limits = limited(tmp_path, usd_per_day=1.0)
    pool = Pool()
    paying(pool, limits)(task, [record(0), record(1, "dumb"), record(2)])
    assert limits.account("home").spent.usd == pytest.approx(0.2)


def test_a_pool_that_is_away_costs_no_money(tmp_path, record):
    task, limits = limited(tmp_path, usd_per_day=1.0)
    pool = Pool()
    paying(pool, limits)(task, [record(0)])
    pool.fails = True
    with pytest.raises(UnavailableError, match="away"):
        paying(pool, limits)(task, [record(1), record(2)])
    assert limits.account("home").spent.usd == pytest.approx(0.1)


def test_without_a_limit_nothing_is_paid_and_everything_asked(tmp_path, record):
    task, limits = limited(tmp_path)
    pool = Pool()
    assert len(paying(pool, limits)(task, [record(0), record(1)])) == 2
    assert limits.account("home").booking == 0
