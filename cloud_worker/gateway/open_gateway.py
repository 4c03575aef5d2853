"""A gateway that serves: its doors open, its spool and its state in hand.

Rules:
 * Whoever opens goes on with the spool, and on the port, of the one before.
 * What can't be opened gives back what was opened before it.
"""

from __future__ import annotations

import asyncio

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.registry import Registry
from cloud_worker.gateway.cascade_service import CascadeServicer
from cloud_worker.gateway.doors import Doors
from cloud_worker.gateway.draws import Draws
from cloud_worker.gateway.fleet_parts import fleet_service, tell_of_fleet
from cloud_worker.gateway.query_parts import Gatherers, query_parts
from cloud_worker.gateway.release_parts import keeper_of, releases_service
from cloud_worker.gateway.run_file import RunFile
from cloud_worker.log.spool import Spool
from cloud_worker.releases.recovered_state import open_store
from router.core.errors import StartError
from router.transport import telemetry_names
from router.transport.telemetry import Telemetry, TelemetrySettings
from router.v1 import cascade_pb2_grpc, fleet_pb2_grpc, release_pb2_grpc

STOP_GRACE_SECONDS = 5.0


class OpenGateway:
    """Made by ``opened``.

    Attributes:
        port: Where queries come in.
    """

    def __init__(
        self, port: int, doors: Doors, spool: Spool, telemetry: Telemetry, signing: asyncio.Task[None]
    ) -> None:
        """Hold what was opened."""
        self.port = port
        self._signing = signing
        self._doors = doors
        self._spool = spool
        self._telemetry = telemetry

    @classmethod
    async def opened(
        cls, config: CloudConfig, name: str, teachers: Gatherers, run_file: RunFile, *, insecure: bool
    ) -> OpenGateway:
        """Open everything, and tell where it serves.

        Args:
            config: All that is set.
            name: Of the gateway.
            teachers: What gathers the questions for each teacher.
            run_file: Tells where the one before served, and where this one does.
            insecure: Plain transport on this machine.

        Raises:
            HeadraceError: Something can't be opened; says why.
        """
        store = open_store(config)
        registry = Registry(store, config.fleet.max_devices)
        telemetry = Telemetry.start(telemetry_names.SERVICE_CLOUD, TelemetrySettings(**config.telemetry.model_dump()))
        interval = config.fleet.sync_seconds * (1.0 + config.fleet.jitter)
        draws = Draws(store, interval, used=registry.use)
        spool = Spool(config.spool_folder / f"{name}.sqlite")
        tell_of_fleet(config, store, telemetry.meter)
        doors = Doors(config, name, store.engine, run_file.reopened, insecure=insecure)
        parts = query_parts(config, name, store, teachers, spool, draws, telemetry, insecure=insecure)
        fleet = fleet_service(config, store, registry, draws, telemetry.meter, insecure=insecure)
        cascade_pb2_grpc.add_CascadeServicer_to_server(CascadeServicer(parts), doors.server)
        fleet_pb2_grpc.add_FleetServicer_to_server(fleet, doors.server)
        release_pb2_grpc.add_ReleasesServicer_to_server(releases_service(config), doors.server)
        keeper = keeper_of(config, store)
        try:
            await keeper.try_to_sign()  # before a device hears of a release
            ports = await doors.start()
        except StartError:
            telemetry.stop()
            await spool.close()
            raise
        run_file.write(ports)
        signing = asyncio.create_task(keeper.keep_signing(), name="signing")
        return cls(ports.port, doors, spool, telemetry, signing)

    async def refuse_new_calls(self) -> None:
        """Close the doors; calls in flight end within the grace."""
        self._signing.cancel()
        await self._doors.stop(STOP_GRACE_SECONDS)

    async def close(self) -> None:
        """Bring what was said to the disk."""
        await self._spool.close()
        self._telemetry.stop()
