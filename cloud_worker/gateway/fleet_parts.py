"""Puts together what takes the reports of devices at a gateway, and what its metrics tell of the fleet."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.metrics import FleetMetrics, IdentityMetrics, PresenceMetrics
from cloud_worker.fleet.presence import Presence
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.gateway.draws import Draws
from cloud_worker.identity.register import Register
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.repository.files import RepositoryFiles
from cloud_worker.releases.repository.signed import SignedReleases
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.reports.promise.metrics import PromiseMetrics
from cloud_worker.state.store import Store
from cloud_worker.state.tallies import Tallies


def fleet_service(
    config: CloudConfig, store: Store, registry: Registry, draws: Draws, meter: Meter, *, insecure: bool
) -> FleetServicer:
    """The Fleet service; what it is told is counted by ``meter``."""
    service = FleetServicer(
        store,
        config.fleet,
        insecure,
        config.tasks,
        told=draws.forget,
        metrics=FleetMetrics(meter, registry.count, config.fleet.max_devices),
        publisher=Publisher(config.releases_folder),
    )
    service.order_signed_releases(SignedReleases(RepositoryFiles(config.repository_folder)).now)
    return service


def tell_of_fleet(config: CloudConfig, store: Store, meter: Meter) -> None:
    """Tell by ``meter`` of promises, of devices that are there or away, and of identities."""
    PromiseMetrics(meter, Promises(config.tasks, store, Publisher(config.releases_folder)).gather)
    PresenceMetrics(meter, Tallies(store.engine), Presence.of(config.fleet.sync_seconds, config.fleet.jitter))
    IdentityMetrics(meter, Register(store.engine))
