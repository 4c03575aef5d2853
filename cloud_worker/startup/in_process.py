"""A gateway in this process, with teachers given as objects: no Ray, and nothing learns from what is answered.

For trying a teacher of your own, for examples and for tests. Everything but the teachers' processes is the real
gateway: its gRPC server, its spool, its draws, its fleet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.config.sections import Door
from cloud_worker.config.teachers import RecordedSettings
from cloud_worker.gateway.actor import GATEWAY, Gateway
from cloud_worker.pool.batcher import Ask
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.teachers.base import NotNow, Question, Reply, Teacher
from router.core.domain.task import Task
from router.core.errors import HeadraceError, UnavailableError
from router.io.wordless_errors import tell

log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(
    folder: Path, teachers: Sequence[Teacher], tasks: Sequence[Task], listen: str = "127.0.0.1:0"
) -> AsyncIterator[str]:
    """Serve ``tasks`` on this machine while the context lasts, each by its reference; yields ``host:port``.

    Args:
        folder: Keeps state, spool and releases.
        teachers: Asked in threads of this process, one call at a time each.
        tasks: Their references are among ``teachers``.
        listen: ``host:port``; port 0 takes a free one.

    Raises:
        HeadraceError: It can't start; says why.
    """
    # Of a teacher that is an object the settings say its name, and nothing else is read of them.
    named = tuple(RecordedSettings(name=teacher.name, answers="") for teacher in teachers)
    config = CloudConfig(data=folder, door=Door(listen=listen), teachers=named, tasks=tuple(tasks))
    async with serving_config(config, teachers) as target:
        yield target


@asynccontextmanager
async def serving_config(
    config: CloudConfig, teachers: Sequence[Teacher], *, insecure: bool = True
) -> AsyncIterator[str]:
    """The configuration as ``serving`` has it, with everything else as ``config`` says.

    A teacher answers for the one of its name there.
    """
    config.data.mkdir(parents=True, exist_ok=True)
    store = await asyncio.to_thread(open_at_start, config)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))
    asked = {teacher.name: _asking(teacher) for teacher in teachers}
    gateway = Gateway(config, GATEWAY, insecure, asked.__getitem__)
    try:
        yield f"{config.door.listen.rpartition(':')[0]}:{await gateway.port()}"
    finally:
        await gateway.stop()


def _asking(teacher: Teacher) -> Ask:
    """How the gateway asks a teacher in this process."""
    turn = asyncio.Lock()

    async def ask(questions: Sequence[Question]) -> AsyncIterator[Sequence[tuple[int, Reply | NotNow]]]:
        async with turn:
            try:
                replies = await asyncio.to_thread(lambda: list(teacher.answer(questions)))
            except Exception as error:  # a teacher's library may raise anything: its query is refused
                if isinstance(error, HeadraceError):
                    raise
                tell(log, f"teacher {teacher.name} failed", error)
                raise UnavailableError(f"teacher {teacher.name} failed") from None
        yield list(enumerate(replies))

    return ask
