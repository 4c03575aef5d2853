"""A gateway and a replica of its teacher, each a process of its own, without Ray: what they take can be told apart.

    python -m bench.parts.rayless_gateway replica FOLDER
    python -m bench.parts.rayless_gateway gateway FOLDER

Both run on uvloop, as Ray's actors do. The teacher is that of ``gateway_speed``: it needs no time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import uvloop

from bench.parts.cloud_doors import TEACHER, config_in
from bench.parts.installed_agent import told
from cloud_worker.gateway import actor
from cloud_worker.pool.direct_calls import Replicas
from cloud_worker.pool.replica_calls import ReplicaCalls
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.teachers.base import NotNow, Question, Reply
from cloud_worker.teachers.recorded import RecordedTeacher
from router.io.atomic_write import write_whole


async def _replica(folder: Path) -> None:
    config = config_in(folder)
    teacher = RecordedTeacher(TEACHER, Path(config.teachers[0].answers))

    def answer(questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        yield from teacher.answer(questions)

    calls = ReplicaCalls(answer, teacher.threads)
    _tell(folder / "replica.json", socket=await calls.socket())
    await asyncio.Event().wait()


async def _gateway(folder: Path) -> None:
    socket = str(told(folder / "replica.json")["socket"])
    config = config_in(folder)
    store = open_at_start(config)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, Publisher(config.releases_folder))

    async def find() -> Sequence[object]:
        return [socket]

    replicas = Replicas(TEACHER, find)

    async def ask(questions: Sequence[Question]) -> AsyncIterator[Sequence[tuple[int, Reply | NotNow]]]:
        if not questions:
            await replicas.refresh()
            return
        replica = replicas.least_busy()
        assert replica is not None
        async with aclosing(replica.ask(questions)) as pieces:
            async for piece in pieces:
                yield piece

    gateway = actor.Gateway(config, actor.GATEWAY, True, lambda name: ask)
    port = await gateway.port()
    actor.leave_loaded_alone()
    _tell(folder / "gateway.json", port=port)
    await asyncio.Event().wait()


def _tell(path: Path, **known: Any) -> None:
    write_whole(path, json.dumps({"pid": os.getpid(), **known}).encode())


if __name__ == "__main__":
    uvloop.run({"replica": _replica, "gateway": _gateway}[sys.argv[1]](Path(sys.argv[2])))
