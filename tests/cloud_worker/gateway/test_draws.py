"""What the gateway believes of a claimed draw: its own orders."""

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.ordered_rates import MOST_KEPT, OrderedRates
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.gateway.draws import CLOCK_SECONDS, Draws
from cloud_worker.pool.answer_records import Asked, Outcome, record_of
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.teachers.base import TeacherAnswer
from router.core.domain.query import Attempt, Query
from router.core.domain.record import may_certify
from router.core.domain.task import Task
from router.core.policy.exploration import Ordered, draw, rate_in_force
from router.core.release.reports import DeviceReport, TaskReport

TASK = Task("home", reference="big")
HOUR = 3600.0
INTERVAL = 10.0


class Cloud:
    """A store whose orders are told to devices, and what a gateway believes of their claims."""

    def __init__(self, store):
        self.store = store
        self.rates = OrderedRates(store.engine)
        self.restart()

    def restart(self):
        self.draws = Draws(self.store, INTERVAL)

    def tell(self, rate, at, device="kitchen"):
        self.store.device(device)
        self.rates.tell(device, {"home": rate}, at)
        self.draws.forget(device)

    async def row(self, position, rate, asked_at, received_at, device="kitchen", **fields):
        """The row of a query whose draw is about ``position``, claimed as drawn at ``rate``."""
        seed = self.store.find_device(device).seed if self.store.find_device(device) else b"s" * 32
        query_id = next(f"q{n}" for n in range(100_000) if abs(draw(seed, f"q{n}") - position) < 0.01)
        claim = Attempt(answer="on", explored=True, exploration=rate, asked_at=asked_at, **({"kept": True} | fields))
        verified = await self.draws.verify(Query(query_id, "home", "lamp", attempt=claim), device, received_at)
        asked = Asked(verified.query, device, TASK, received_at, verified.explored)
        return record_of(asked, Outcome(TeacherAnswer("on", "v1"), "big"))


@pytest.fixture
def cloud(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    store.declare_tasks([TASK])
    return Cloud(store)


async def test_a_claimed_rate_is_not_believed(cloud):
    cloud.tell(0.05, at=1000.0)
    forged = await cloud.row(0.5, 1.0, asked_at=2000.0, received_at=2000.0)
    assert (forged.explored, forged.exploration, forged.propensity) == (False, 0.0, 1.0)
    drawn = await cloud.row(0.02, 1.0, asked_at=2000.0, received_at=2000.0)
    assert (drawn.explored, drawn.exploration, drawn.propensity) == (True, 0.05, 0.05)


async def test_a_row_of_a_tiny_claimed_rate_weighs_no_more_than_one(cloud):
    cloud.tell(1.0, at=1000.0)
    stranger = await cloud.row(0.5, 0.001, 2000.0, 2000.0, device="nobody")
    honest = await cloud.row(0.5, 0.001, 2000.0, 2000.0)
    assert (stranger.explored, stranger.propensity, stranger.exploration, stranger.covered) == (False, 1.0, 0.0, False)
    assert (honest.explored, honest.propensity, honest.exploration) == (True, 1.0, 1.0)


async def test_a_row_that_waited_days_in_an_outbox_has_the_rate_of_its_day(cloud):
    for rate, day in ((1.0, 0), (0.25, 2), (0.05, 5)):
        cloud.tell(rate, at=day * 24 * HOUR)
    row = await cloud.row(0.2, 0.25, asked_at=3 * 24 * HOUR, received_at=6 * 24 * HOUR)
    assert (row.explored, row.exploration, row.asked_at) == (True, 0.25, 3 * 24 * HOUR)


async def test_an_agent_that_was_away_keeps_the_last_rate_that_it_was_told(cloud):
    cloud.tell(0.25, at=0.0)
    cloud.tell(0.05, at=HOUR, device="another")
    row = await cloud.row(0.2, 0.25, asked_at=30 * 24 * HOUR, received_at=31 * 24 * HOUR)
    assert (row.explored, row.exploration) == (True, 0.25)


@pytest.mark.parametrize("late", [-INTERVAL, 0.0, INTERVAL])
async def test_around_a_change_either_order_may_have_been_in_force(cloud, late):
    cloud.tell(0.3, at=0.0)
    cloud.tell(0.1, at=HOUR)
    for rate in (0.3, 0.1):
        row = await cloud.row(rate - 0.05, rate, asked_at=HOUR + late, received_at=HOUR + 20.0)
        assert (row.explored, row.exploration) == (True, rate)


@pytest.mark.parametrize("asked_at", [0.0, 1e300, 5.0, 1e9 + HOUR, -1.0])
async def test_of_a_time_of_asking_that_can_not_be_the_order_of_its_coming_counts(cloud, asked_at):
    cloud.tell(0.25, at=1e9 - HOUR)
    row = await cloud.row(0.2, 0.25, asked_at=asked_at, received_at=1e9)
    assert (row.explored, row.exploration) == (True, 0.25)


async def test_a_restarted_gateway_and_one_beside_it_know_what_was_ordered(cloud):
    cloud.tell(0.25, at=1000.0)
    assert (await cloud.row(0.2, 0.25, 1500.0, 1500.0)).explored
    cloud.restart()
    assert (await cloud.row(0.2, 0.25, 1500.0, 1500.0)).explored


async def test_after_an_upgrade_the_last_reports_tell_what_had_been_ordered(cloud):
    cloud.store.device("kitchen")
    cloud.store.save_report(DeviceReport("kitchen", tasks=(TaskReport("home", exploration=0.25),)), 1.0)
    first_seen = cloud.store.find_device("kitchen").first_seen
    FleetServicer(cloud.store, Fleet(), insecure=True, tasks=[TASK])
    cloud.restart()
    assert (await cloud.row(0.2, 0.25, first_seen + 5.0, first_seen + HOUR)).explored
    FleetServicer(cloud.store, Fleet(), insecure=True, tasks=[TASK])
    assert cloud.rates.of("kitchen") == {"home": (Ordered(first_seen, 0.25),)}


async def test_an_escalated_row_counts_for_certain_only_at_an_ordered_rate(cloud):
    cloud.tell(0.05, at=0.0)
    plain = {"kept": False, "explored": False, "asked_at": 10.0}
    query = Query("q", "home", "lamp", attempt=Attempt(answer="on", exploration=1.0, **plain))
    verified = await cloud.draws.verify(query, "kitchen", 10.0)
    row = record_of(Asked(verified.query, "kitchen", TASK, 10.0, False), Outcome(TeacherAnswer("on", "v1"), "big"))
    assert (row.exploration, row.propensity, may_certify(row)) == (0.05, 1.0, False)


def test_a_device_is_noted_with_what_it_is_told_once_for_each_change(cloud):
    cloud.store.add_release(ReleaseRow("home", 0, "champion", "ab" * 32, 1.0))
    cloud.store.promote("home", 0, "ab" * 32)
    fleet = FleetServicer(cloud.store, Fleet(), insecure=True, tasks=[TASK])
    for rate in (1.0, 1.0, 0.05, 0.05, 1.0):
        cloud.store.update_task("home", exploration=rate)
        fleet.answer(DeviceReport("kitchen"))
    assert [ordered.rate for ordered in cloud.rates.of("kitchen")["home"]] == [1.0, 0.05, 1.0]


def test_what_is_kept_of_a_device_is_bounded_and_ends_with_the_last(cloud):
    for at in range(3 * MOST_KEPT):
        cloud.tell(0.1 + 0.001 * at, float(at))
    kept = cloud.rates.of("kitchen")["home"]
    assert len(kept) == MOST_KEPT
    assert kept[-1] == Ordered(float(3 * MOST_KEPT - 1), pytest.approx(0.1 + 0.001 * (3 * MOST_KEPT - 1)))


def test_a_claim_of_no_order_gets_the_lowest_that_may_have_been_in_force():
    ordered = (Ordered(0.0, 1.0), Ordered(100.0, 0.25), Ordered(200.0, 0.05))
    assert rate_in_force(ordered, 0.7, 150.0, 60.0) == 0.05
    assert rate_in_force(ordered, 1.0, 150.0, 60.0) == 1.0
    assert rate_in_force(ordered, 1.0, 165.0, 60.0) == 0.05
    assert rate_in_force(ordered, 1.0, -1e9, CLOCK_SECONDS) == 1.0
