"""Everything that asks the reference is paid at the gateway, whoever asks and why."""

import pytest

from cloud_worker.gateway.cascade_parts import CascadeParts
from cloud_worker.gateway.cascade_service import CascadeServicer
from cloud_worker.gateway.draws import Draws
from cloud_worker.gateway.metrics import GatewayMetrics
from cloud_worker.log.spool import Spool
from cloud_worker.pool.answer_records import Outcome
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.teachers.base import TeacherAnswer
from router.core.domain.query import Attempt, Query
from router.core.domain.task import Limits, Task
from router.core.errors import SpentError, UnavailableError
from router.transport import telemetry_names
from router.transport.telemetry import Telemetry, TelemetrySettings
from router.transport.wire import query_to_proto

FREE = Task("free", "big")


class Pool:
    """Answers at 0.3 USD each."""

    def __init__(self):
        self.asked = []
        self.error = None

    async def ask(self, asked, question, deadline):
        self.asked.append(asked.query.id)
        if self.error:
            raise self.error
        return Outcome(TeacherAnswer("on", "v1", usd=0.3), "big", usd=0.3)


class Context:
    """Of one call, by one device."""

    def time_remaining(self):
        return 10.0

    def invocation_metadata(self):
        return ((telemetry_names.META_DEVICE, "kitchen"),)


class Gateway:
    """A gateway's servicer, over a pool and a store."""

    def __init__(self, folder, task):
        store = Store(f"sqlite:///{folder / 'fleet.sqlite'}")
        store.declare_tasks([task, FREE])
        store.add_release(ReleaseRow("home", 1, "champion", "ab" * 32, created_at=1.0))
        store.promote("home", 1, "ab" * 32)
        self.pool, self.limits, self.spool = Pool(), FleetLimits(store), Spool(folder / "gateway.sqlite")
        self.telemetry = Telemetry.start("test", TelemetrySettings())
        self.servicer = CascadeServicer(
            CascadeParts(
                node="gateway",
                insecure=True,
                tasks={"home": task, "free": FREE},
                pool=self.pool,
                spool=self.spool,
                draws=Draws(store, 10.0),
                metrics=GatewayMetrics(self.telemetry, lambda: 0, lambda: 0),
                spool_max_bytes=1_000_000,
                feedback=None,
                limits=self.limits,
            )
        )

    async def ask(self, query_id, attempt=None, task="home"):
        return await self.servicer.Answer(query_to_proto(Query(query_id, task, "lamp", attempt=attempt)), Context())


@pytest.fixture
async def gateway_of(tmp_path):
    made = []

    def make(**limits):
        made.append(Gateway(tmp_path, Task("home", "big", budget=Limits(**limits))))
        return made[-1]

    yield make
    for gateway in made:
        await gateway.spool.close()
        gateway.telemetry.stop()


async def test_deferred_explored_taught_and_direct_queries_spend_alike(gateway_of):
    gateway = gateway_of(queries_per_day=4)
    await gateway.ask("deferred", Attempt(release=1, answer="on", score=0.2))
    await gateway.ask("explored", Attempt(release=1, answer="on", score=0.9, explored=True, exploration=1.0, kept=True))
    await gateway.ask("degraded", Attempt(release=1, answer="on", score=0.2, kept=True, degraded=True))
    await gateway.ask("direct")
    assert gateway.limits.account("home").spent.queries == 4
    with pytest.raises(SpentError):
        await gateway.ask("fifth")
    assert len(gateway.pool.asked) == 4
    assert (await gateway.ask("other", task="free")).answer == "on"


async def test_a_query_that_is_asked_again_is_paid_once(gateway_of):
    gateway = gateway_of(queries_per_day=1)
    assert (await gateway.ask("same")).answer == (await gateway.ask("same")).answer == "on"
    assert gateway.limits.account("home").spent.queries == 1


async def test_money_is_settled_and_the_next_query_is_weighed_at_its_price(gateway_of):
    gateway = gateway_of(usd_per_day=1.0)
    for position in range(3):
        await gateway.ask(f"q{position}")
    assert gateway.limits.account("home").spent.usd == pytest.approx(0.9)
    with pytest.raises(SpentError):  # at 0.3 it would come to 1.2
        await gateway.ask("q3")


async def test_a_pool_that_is_away_costs_a_query_and_no_money(gateway_of):
    gateway = gateway_of(queries_per_day=2, usd_per_day=1.0)
    await gateway.ask("good")
    gateway.pool.error = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await gateway.ask("bad")
    spent = gateway.limits.account("home").spent
    assert (spent.queries, spent.usd) == (2, pytest.approx(0.3))
