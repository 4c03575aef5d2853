"""Two tiers in a chain: an agent that knows nothing yet, and the cloud that answers what it escalates.

    python examples/two_tiers.py

Everything is real but the cluster: the agent, the gateway and the client talk over gRPC on this machine. In earnest
the two are ``headrace-edge run`` (docs/edge.md) and ``headrace-cloud up`` (docs/cluster.md).
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cloud_worker.startup.in_process import serving
from cloud_worker.teachers.base import Question, TeacherAnswer
from edge_agent.config import Config, DoorSettings, UpstreamSettings
from edge_agent.daemon import Daemon
from router import AsyncClient, ServiceError
from router.core.domain.task import Task


class Echo:
    """A teacher that says what it was asked."""

    name = version = "echo"
    threads = 1

    def answer(self, questions: Sequence[Question]) -> Iterator[TeacherAnswer]:
        """One reply a question, in their order."""
        for question in questions:
            yield TeacherAnswer(question.text, self.version)


@asynccontextmanager
async def agent(data: Path, upstream: str) -> AsyncIterator[str]:
    """An agent in this process, while the context lasts; yields ``host:port``."""
    door = DoorSettings(listen="127.0.0.1:0")
    config = Config(device="kitchen", data=data, door=door, upstream=UpstreamSettings(target=upstream))
    daemon, stop = Daemon(config, insecure=True), asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    await daemon.opened.wait()
    try:
        yield f"127.0.0.1:{daemon.port}"
    finally:
        stop.set()
        await running


async def main() -> None:
    """Ask the lower tier while the upper one is there, and once it is gone."""
    with tempfile.TemporaryDirectory() as folder:
        positions = Path(folder) / "cloud", Path(folder) / "kitchen"
        async with (
            serving(positions[0], [Echo()], [Task("echo", reference="echo")]) as cloud,
            agent(positions[1], cloud) as device,
            AsyncClient(device, insecure=True) as client,
        ):
            answer = await client.ask("hello", "echo")
            print(f"{answer.text}: from the {answer.provenance.tier.value}, {answer.provenance.reason.value}")
        async with agent(positions[1], cloud) as device, AsyncClient(device, insecure=True, deadline=2) as client:
            try:
                await client.ask("hello again", "echo")
            except ServiceError as error:
                print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    asyncio.run(main())
