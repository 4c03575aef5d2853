"""The agent as a process: puts the parts together, owns their tasks, stops them in order.

Rules:
 * It opens its door at once and waits for nothing. Health says SERVING once what is committed is opened, which comes
   before anything is fetched.
 * A disk that is full, or that lets nothing be written, keeps it from nothing but keeping things for a restart.
 * One task group owns everything that runs; when one part fails, all stop, loudly.
 * Stopping: no new calls, calls under way end within the grace, the outbox is written, then the rest.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from edge_agent.config import Config
from edge_agent.fleet.erasing import Erasing
from edge_agent.fleet.sync import Sync
from edge_agent.gauges import add_gauges
from edge_agent.outbox.sender import OutboxSender
from edge_agent.parts.data_folder import RunFile, held
from edge_agent.parts.description import Description
from edge_agent.parts.kept_state import KeptState
from edge_agent.parts.next_tier import NextTier
from edge_agent.parts.service import (
    SERVICE,
    NoWorkers,
    RecentAnswers,
    StudentRunner,
    cascade_servicer,
    memory_of,
    workers_of,
)
from edge_agent.parts.told_state import ToldState
from edge_agent.parts.updates import Updates
from edge_agent.telemetry import EdgeTelemetry
from router.core.release.reports import DeviceReport
from router.transport.server import listen_for_stop
from router.v1 import cascade_pb2_grpc

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0


class Daemon:
    """The agent: all its parts. Made inside the running event loop, with ``data`` held by nobody else.

    Attributes:
        opened: Set once the door is open.
        tasks: That it serves, by name.
        outbox: What waits for the cloud.
        sender: Empties the outbox.
        updater: Fetches and activates releases.
        updates: What fetches releases, and what checks who signed them.
        workers: Other processes that answer at the same door.
        sync: Reports to the cloud, and obeys its orders.
        renewal: Of the device's certificate, ``None`` without one.
        status: Writes what ``headrace-edge status`` shows.
        memory: Of the reference's answers; it forgets a subject, a task or everything when told to.
    """

    def __init__(self, config: Config, *, insecure: bool) -> None:
        """Open what lies on disk; nothing is sent and nothing listens yet.

        Raises:
            ConfigError: An address may not be used.
            StartError: Something that it needs can't be opened.
        """
        self._description = Description(config.device, config.data)
        self._run_file = RunFile(config.data)
        self.opened = asyncio.Event()
        self._next = NextTier(config, insecure=insecure)
        self._door = self._next.door(SERVICE)
        self._telemetry = telemetry = EdgeTelemetry.started(config.telemetry.settings)
        self._kept = kept = KeptState(config)
        self.tasks, self.outbox = kept.tasks, kept.outbox
        upstream, self.renewal = self._next.upstream, self._next.renewal
        self._runner = StudentRunner(config.device, telemetry.span)
        self.memory = memory = memory_of(config)
        lanes = config.outbox.concurrency
        self.sender = OutboxSender(self.outbox, upstream, self.tasks, telemetry, lanes, memory.learn)
        self.updates = Updates(config, self.tasks, upstream, self._changed, lambda: told.clock.value, insecure=insecure)
        self.updater = self.updates.updater
        recent = RecentAnswers()
        forget = (lambda _: recent.forget_all(), lambda _: self.workers.forget())
        erasing = Erasing(self.outbox.erase, self.tasks, memory.erase, *forget)
        self.sync = Sync(upstream, self.tasks, self.report, self.updater.begin, kept.orders_file, erasing)
        told: ToldState = ToldState(config, kept, upstream, self.renewal, lambda: self.sync.clock_ahead, self.updates)
        self.status = told.writer
        servicer = cascade_servicer(config, kept, self._runner, upstream, telemetry, memory, recent, insecure=insecure)
        cascade_pb2_grpc.add_CascadeServicer_to_server(servicer, self._door.server)
        self.workers: NoWorkers = workers_of(config, kept, upstream, servicer, telemetry, insecure=insecure)
        told.workers = self.workers.described
        add_gauges(telemetry.meter, self.tasks, self.outbox, upstream, lambda: self.status.states)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then end in order.

        Raises:
            StartError: The door can't be opened.
        """
        self._run_file.forget()  # of an agent that was killed
        try:
            port = await self._door.start(ready=False)
            self.opened.set()
            await asyncio.to_thread(self._run_file.write, port)
            await self.workers.start(port)
            async with asyncio.TaskGroup() as group:
                kept = (self.outbox.write_loop, self._kept.quota_store.run, self.status.run)
                parts = (*kept, self.workers.run, self._work)
                running = [group.create_task(part(), name=part.__qualname__) for part in parts]
                await stop.wait()
                await asyncio.gather(self._door.stop(GRACE_SECONDS), self.workers.stop())
                await asyncio.to_thread(self.updates.probation.calm)
                for task in running:
                    task.cancel()
        finally:
            await self._close()

    async def _work(self) -> None:
        """Open what is committed, then report, update and teach, until cancelled."""
        await self.tasks.load()
        await self.workers.ready()
        await self._door.ready()
        self.updater.begin()
        parts = [self.sync.run, self.updater.run, self.updates.probation.run, self.sender.run]
        if self.renewal is not None:
            parts.append(self.renewal.run)
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part(), name=part.__qualname__)

    def report(self) -> DeviceReport:
        """What the fleet is told of this device."""
        self.status.write_if_due()
        return replace(
            self._description.report(),
            tasks=tuple(hosted.report() for hosted in self.tasks if hosted.serving or hosted.order),
            outbox_pending=self.outbox.pending,
            outbox_dropped=self.outbox.dropped,
            outbox_dropped_because=tuple((why.value, count) for why, count in sorted(self.outbox.drops.items())),
            state=self.status.states[0].value,
        )

    @property
    def port(self) -> int:
        """Where it listens, 0 before ``opened``."""
        return self._door.port

    def _changed(self) -> None:
        self.sync.poke()

    async def _close(self) -> None:
        await self._door.stop(0)
        await self.workers.close()
        await self.outbox.close()
        await self._kept.quota_store.write()
        self._runner.close()
        await self.updates.close()
        await self._next.close()
        await asyncio.to_thread(self._telemetry.stop)
        self._run_file.forget()


async def serve(config: Config, *, insecure: bool) -> None:
    """Run an agent until the first SIGINT or SIGTERM; the second ends the process at once.

    Raises:
        OperatorError: It can't start; says what would do.
    """
    with held(config.data):
        daemon = Daemon(config, insecure=insecure)
        await daemon.run(listen_for_stop())
