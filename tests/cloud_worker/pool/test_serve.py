import asyncio
import os
import signal
import uuid

import psutil
import pytest

from cloud_worker.pool.serve import Replica
from cloud_worker.teachers import NoAnswer, Question
from cloud_worker.testing import edge
from router.core.errors import ServiceError
from router.transport.telemetry import TelemetrySettings


@pytest.fixture
def replica(tmp_path):
    from cloud_worker.config.teachers import RecordedSettings

    path = tmp_path / "answers.jsonl"
    path.write_text("".join(f'{{"text": "t{number}", "label": "l{number}"}}\n' for number in range(50)))
    return Replica(RecordedSettings(name="big", answers=str(path)), tmp_path, TelemetrySettings())


async def test_replies_stream_in_pieces_each_with_its_place(replica):
    pieces = [piece async for piece in replica.answer([Question(f"t{number}") for number in range(50)])]
    assert len(pieces) > 1
    replies = dict(pair for piece in pieces for pair in piece)
    assert [replies[position].text for position in range(50)] == [f"l{position}" for position in range(50)]


async def test_questions_whose_time_is_over_are_left_out(replica):
    asked = [Question("t1"), Question("t2", milliseconds=-1.0), Question("never")]
    replies = dict([pair async for piece in replica.answer(asked) for pair in piece])
    assert sorted(replies) == [0, 2]
    assert isinstance(replies[2], NoAnswer)


@pytest.mark.cluster
@pytest.mark.timeout(240)
async def test_a_killed_copy_is_replaced_and_its_questions_are_asked_again(cluster):
    errors = []
    async with edge(cluster.target, f"device-{uuid.uuid4().hex[:8]}") as device:

        async def one(number):
            try:
                await device.escalate(f"text {number}", "home", seconds=45)
            except ServiceError as error:
                errors.append(error)

        asking = asyncio.gather(*(one(number) for number in range(200)))
        await device.heard(1)
        for process in psutil.Process().children(recursive=True):
            if "ServeReplica" in process.name() or "ServeReplica" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
        await asking
        assert {error.status for error in errors} <= {"UNAVAILABLE"}
        assert len(device.answers) + len(errors) == 200
        assert (await device.escalate("text 1", "home", seconds=45)).text == "label 1"
