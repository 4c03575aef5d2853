"""What a gateway's servicer works with, over a store and a spool of its own."""

import pytest

from cloud_worker.gateway.cascade_parts import CascadeParts
from cloud_worker.gateway.draws import Draws
from cloud_worker.gateway.metrics import GatewayMetrics
from cloud_worker.log.spool import Spool
from cloud_worker.state.fleet_quota import FleetLimits
from cloud_worker.state.store import Store
from router.transport.telemetry import Telemetry, TelemetrySettings


@pytest.fixture
def parts_of_gateway(tmp_path):
    """Makes them for one task, answered by a pool."""

    def make(task, pool):
        store = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
        store.declare_tasks([task])
        return CascadeParts(
            node="gateway",
            insecure=True,
            tasks={task.name: task},
            pool=pool,
            spool=Spool(tmp_path / "gateway.sqlite"),
            draws=Draws(store, 10.0),
            metrics=GatewayMetrics(Telemetry.start("test", TelemetrySettings()), lambda: 0, lambda: 0),
            spool_max_bytes=1_000_000,
            feedback=None,
            limits=FleetLimits(store),
        )

    return make
