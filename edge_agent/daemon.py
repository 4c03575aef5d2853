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
import contextlib
import fcntl
import json
import logging
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.answering.agent import Agent
from edge_agent.answering.answer_cache import RecentAnswers
from edge_agent.answering.feedback_relay import FeedbackDesk
from edge_agent.answering.service import SERVICE, CascadeServicer
from edge_agent.answering.student_runner import Thinker
from edge_agent.config import Config
from edge_agent.damaged_files import forsake
from edge_agent.fleet.sync import Sync
from edge_agent.gauges import add_gauges
from edge_agent.identity.clock import Clock, by_offset
from edge_agent.identity.condition import Facts
from edge_agent.identity.links import Links
from edge_agent.identity.renewal import Renewal
from edge_agent.identity.status_writer import StatusWriter
from edge_agent.outbox.sender import Teaching
from edge_agent.outbox.store import Outbox
from edge_agent.releases.updater import AGENT_VERSION, Updater
from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.orders import load_standing
from edge_agent.tasks.quota_store import Ledger, load_spent
from edge_agent.telemetry import EdgeTelemetry
from edge_agent.upstream.client import Upstream
from router.core.domain.plain_names import why_too_long
from router.core.domain.task import LABEL_STUDENTS
from router.core.errors import RevokedError, StartError
from router.core.release.orders import DeviceReport
from router.core.visible_text import in_line
from router.io.atomic_write import write_whole
from router.students.text_student import text_kinds_here
from router.transport import telemetry_names
from router.transport.server import listen_for_stop
from router.transport.telemetry import Telemetry
from router.v1 import cascade_pb2_grpc

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
_LIFE_BYTES = 16
_MOST_SAID = 60  # characters of what a system says of itself


class Daemon:
    """All parts of one agent. Made inside the running event loop, with ``data`` held by nobody else.

    Attributes:
        opened: Set once the door is open.
    """

    def __init__(self, config: Config, *, insecure: bool) -> None:
        """Open what lies on disk; nothing is sent and nothing listens yet.

        Raises:
            ConfigError: An address may not be used.
            StartError: Something that it needs can't be opened.
        """
        self._config = config
        self._life = secrets.token_hex(_LIFE_BYTES)
        self._formats = (*LABEL_STUDENTS, *text_kinds_here())
        self.opened = asyncio.Event()
        self._links = Links(config, insecure=insecure)
        self._door = self._links.door(SERVICE)
        self._exporters = Telemetry.start(telemetry_names.SERVICE_EDGE, config.telemetry.settings)
        telemetry = EdgeTelemetry(self._exporters)
        self._tasks = Tasks(
            config.data / "tasks",
            load_standing(config.data / "standing.json"),
            config.server_urls,
            load_spent(config.data / "spent.json"),
        )
        self._ledger = Ledger(config.data / "spent.json", self._tasks)
        self._outbox = Outbox(config.data / "outbox.sqlite", config.outbox.max_rows)
        upstream = Upstream(
            self._links.open_channel(),
            config.device,
            target=config.upstream.target,
            bulk=self._links.open_bulk_channel(),
        )
        self._upstream = upstream
        self._renewal: Renewal | None = None
        if self._links.secured:
            self._renewal = Renewal(self._links.folder, self._links.rotate, lambda: upstream.reach.is_away)
        self._status = StatusWriter(config.data, self._facts, self._more)
        self._thinker = Thinker(config.device, telemetry.tracer)
        self._teaching = Teaching(self._outbox, upstream, self._tasks, telemetry, config.outbox.concurrency)
        self._updater = Updater(self._tasks, upstream, changed=self._changed)
        self._sync = Sync(upstream, self._tasks, self.report, self._updater.look, config.data / "standing.json")
        agent = Agent(self._tasks, self._thinker, upstream, self._outbox, telemetry)
        feedback = FeedbackDesk(upstream.feed_back)
        recent = RecentAnswers(time.monotonic)
        tiers = config.door.tiers
        servicer = CascadeServicer(agent, self._tasks, recent, telemetry, feedback, insecure=insecure, tiers=tiers)
        cascade_pb2_grpc.add_CascadeServicer_to_server(servicer, self._door.server)
        add_gauges(self._exporters.meter, self._tasks, self._outbox, upstream, lambda: self._status.states)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``.

        Raises:
            StartError: The door can't be opened.
        """
        self._forget_run_file()  # of an agent that was killed
        try:
            port = await self._door.start(ready=False)
            self.opened.set()
            await asyncio.to_thread(self._write_run_file, port)
            async with asyncio.TaskGroup() as group:
                parts = (self._outbox.write_loop, self._ledger.run, self._status.run, self._work)
                running = [group.create_task(part(), name=part.__qualname__) for part in parts]
                await stop.wait()
                await self._door.stop(GRACE_SECONDS)
                for task in running:
                    task.cancel()
        finally:
            await self._close()

    async def _work(self) -> None:
        """Open what is committed, then report, update and teach, until cancelled."""
        await self._tasks.load()
        await self._door.ready()
        self._updater.look()
        parts = [self._sync.run, self._updater.run, self._teaching.run]
        if self._renewal is not None:
            parts.append(self._renewal.run)
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part(), name=part.__qualname__)

    def report(self) -> DeviceReport:
        """What the fleet is told of this device."""
        self._status.look()
        return DeviceReport(
            device=self._config.device,
            agent_version=AGENT_VERSION,
            platform=in_line(f"{platform.system()} {platform.machine()}", _MOST_SAID),
            processor=in_line(platform.processor(), _MOST_SAID),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            formats=self._formats,
            tasks=tuple(hosted.report() for hosted in self._tasks if hosted.serving or hosted.order),
            outbox_pending=self._outbox.pending,
            outbox_dropped=self._outbox.dropped,
            free_disk_bytes=_free_bytes(self._config.data),
            state=self._status.states[0].value,
            life=self._life,
        )

    def _facts(self) -> Facts:
        renewal = self._renewal
        refusal = self._upstream.refusal or (renewal.refusal if renewal is not None else None)
        clock = renewal.clock if renewal is not None else Clock.RIGHT
        return Facts(
            away=self._upstream.reach.is_away,
            refused=refusal is not None,
            revoked=isinstance(refusal, RevokedError),
            certificate_ends=renewal.certificate.ends if renewal is not None else None,
            now=time.time(),
            clock=by_offset(self._sync.clock_ahead) if clock is Clock.RIGHT else clock,
            storage=(self._outbox.state, self._updater.state),
        )

    def _more(self) -> dict[str, Any]:
        """What the status tells beside the states."""
        refusal = self._upstream.refusal
        return {
            "device": self._config.device,
            "upstream": self._config.upstream.target,
            "refusal": "" if refusal is None else str(refusal),
            "certificate_ends": self._facts().certificate_ends,
            "outbox_pending": self._outbox.pending,
            "outbox_dropped": self._outbox.dropped,
            "tasks": [
                {"task": hosted.name, "release": hosted.serving.manifest.number if hosted.serving else 0}
                for hosted in self._tasks
            ],
        }

    @property
    def port(self) -> int:
        """Where it listens, 0 before ``opened``."""
        return self._door.port

    @property
    def _run_file(self) -> Path:
        return self._config.data / "run" / "agent.json"

    def _write_run_file(self, port: int) -> None:
        try:
            write_whole(self._run_file, json.dumps({"pid": os.getpid(), "port": port}).encode())
        except OSError as error:
            log.error("%s can't be written; the port is %d: %s", self._run_file, port, error)

    def _forget_run_file(self) -> None:
        path = self._run_file
        if os.path.lexists(path.parent) and not path.parent.is_dir():
            forsake(path.parent, "it is no folder")
        if path.is_dir():
            forsake(path, "it is a folder")
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def _changed(self) -> None:
        self._sync.poke()

    async def _close(self) -> None:
        await self._door.stop(0)
        await self._outbox.close()
        await self._ledger.write()
        self._thinker.close()
        await self._links.close()
        await asyncio.to_thread(self._exporters.stop)
        self._forget_run_file()


async def serve(config: Config, *, insecure: bool) -> None:
    """Run an agent until the first SIGINT or SIGTERM; the second ends the process at once.

    Raises:
        OperatorError: It can't start; says what would do.
    """
    with _hold(config.data):
        daemon = Daemon(config, insecure=insecure)
        await daemon.run(listen_for_stop())


def _free_bytes(folder: Path) -> float:
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return 0.0


@contextmanager
def _hold(data: Path) -> Iterator[None]:
    """Keep other agents out of the data folder; a killed agent lets go by itself.

    The folder itself is held too: on a full disk there may be no room for the file, and in its place may lie anything.
    """
    try:
        too_long = why_too_long(str(data.resolve()))
        if too_long:
            raise StartError(f"data folder {data} {too_long}; choose another")
        data.mkdir(parents=True, exist_ok=True)
        folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartError(f"data folder {data} can't be used: {error.strerror or error}; choose another") from error
    lock = _lock_file(data / "lock")
    try:
        for handle in (folder, lock):
            if handle is not None:
                _lock(handle, data)
        yield
    finally:
        for handle in (folder, lock):
            if handle is not None:
                os.close(handle)


def _lock_file(path: Path) -> int | None:
    try:
        if path.is_dir() or path.is_symlink():
            forsake(path, "it is not what this agent puts there")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        log.error("%s can't be opened, and the folder alone is held: %s", path, error)
        return None


def _lock(handle: int, data: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartError(f"data folder {data} is used by another agent; give each its own") from error
    except OSError as error:  # a file system without such locks
        log.warning("%s can't be locked against a second agent: %s", data, error)
