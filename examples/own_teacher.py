"""A teacher of your own: any object that answers questions, tried behind a real gateway in this process.

    python examples/own_teacher.py

To run it on a cluster, give it a kind in ``cloud.toml``: CONTRIBUTING.md, "A teacher". A model that already stands
behind an OpenAI-compatible server needs no code at all: docs/cluster.md, "compatible".
"""

import asyncio
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloud_worker.startup.in_process import serving
from cloud_worker.teachers.base import NoAnswer, Question, Reply, TeacherAnswer
from router import AsyncClient
from router.core.domain.query import Distribution
from router.core.domain.task import Task

ROOMS = {"oven": "kitchen", "fridge": "kitchen", "bed": "bedroom", "wardrobe": "bedroom"}


class RoomTeacher:
    """Says which room a thing stands in. Its version changes with all that its answers depend on."""

    name = "rooms"
    version = "rooms-1"
    threads = 1

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply]:
        """One reply a question, in their order."""
        for question in questions:
            room = next((ROOMS[word] for word in question.text.split() if word in ROOMS), None)
            if room is None:
                yield NoAnswer("names nothing that this teacher knows", field="text")
            else:
                sure = Distribution(top=((room, math.log(0.9)),), tail=math.log(0.1))
                yield TeacherAnswer(room, self.version, sure)


async def main() -> None:
    """Ask it over gRPC, as a device would."""
    task = Task("rooms", reference="rooms")
    with tempfile.TemporaryDirectory() as folder:
        served = serving(Path(folder), [RoomTeacher()], [task])
        async with served as target, AsyncClient(target, insecure=True) as client:
            answer = await client.ask("switch the oven off", "rooms", top_k=1)
            print(answer.text, answer.provenance.model, answer.provenance.model_version)


if __name__ == "__main__":
    asyncio.run(main())
