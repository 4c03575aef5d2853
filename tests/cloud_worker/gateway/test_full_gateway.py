"""A gateway that had no time for a while refuses what has waited too long for it, and answers the rest."""

import asyncio
import signal
import subprocess
import sys

import pytest

from router.core.errors import OverloadedError
from router.transport.channel import call_error, open_channel
from router.v1 import cascade_pb2, cascade_pb2_grpc

AGE_SECONDS, PATIENCE_SECONDS = 2, 120.0

# A whole gateway in a process of its own. At a signal its event loop stands still until a line comes: gRPC's own
# threads go on taking calls in.
GATEWAY = f"""
import asyncio, signal, sys
from pathlib import Path
from cloud_worker.startup.in_process import serving
from cloud_worker.teachers.base import TeacherAnswer
from router.core.domain.task import Task
from router.transport import server

server.MOST_UNTAKEN_SECONDS = {AGE_SECONDS}

class Big:
    name, version, threads = "big", "v1", 1
    def answer(self, questions):
        return iter([TeacherAnswer(question.text.upper(), "v1") for question in questions])

def tell(line):
    print(line, flush=True)

def stand_still():
    tell("still")
    sys.stdin.readline()

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stand_still)
    async with serving(Path(sys.argv[1]), [Big()], [Task("home", "big")]) as target:
        tell(target)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Child:
    def __init__(self, folder):
        words = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(folder)],
            stdin=words,
            stdout=words,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    async def line(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await asyncio.to_thread(self.process.stdout.readline)).strip()

    async def stand_still(self):
        self.process.send_signal(signal.SIGUSR1)
        assert await self.line() == "still"

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
async def gateway(tmp_path):
    child = Child(tmp_path)
    yield child
    child.process.kill()
    child.process.communicate()


def asking(stub, name):
    request = cascade_pb2.AnswerRequest(query_id=name, task="home", text=name, consent=cascade_pb2.CONSENT_GRANTED)
    return asyncio.ensure_future(stub.Answer(request, timeout=PATIENCE_SECONDS))


async def test_what_waited_too_long_is_refused_as_by_a_full_door_and_leaves_no_trace(gateway):
    async with open_channel(await gateway.line(), insecure=True, attempts=1) as channel:
        stub = cascade_pb2_grpc.CascadeStub(channel)
        assert (await asking(stub, "first")).answer == "FIRST"
        await gateway.stand_still()
        old = [asking(stub, f"old {number}") for number in range(20)]
        await asyncio.sleep(2 * AGE_SECONDS)  # their age is what this is about
        young = [asking(stub, f"young {number}") for number in range(20)]
        gateway.go_on()
        answered = await asyncio.gather(*young)
        assert [one.answer for one in answered] == [f"YOUNG {number}" for number in range(20)]
        assert all(one.provenance.logged for one in answered)
        found = await asyncio.gather(*old, return_exceptions=True)
        refused = [call_error(one) for one in found if isinstance(one, Exception)]
        assert {type(error) for error in refused} == {OverloadedError}
        assert len(refused) >= 19  # one may have been asked for before the loop stood still
        again = await asyncio.gather(*(asking(stub, f"old {number}") for number in range(20)))
        assert [one.answer for one in again] == [f"OLD {number}" for number in range(20)]
