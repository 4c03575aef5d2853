"""The real commands as child processes: started, restarted when they die, and ended.

Rules:
 * An agent that dies is started again, as systemd would; the cloud's own processes are Ray's to restart.
 * Whatever happens, no child outlives the demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo.setting import Places
from router.channel import open_channel
from router.errors import StartError

log = logging.getLogger(__name__)

CLOUD_START_SECONDS = 600.0
AGENT_START_SECONDS = 60.0
STOP_SECONDS = 60.0
RESTART_SECONDS = 0.5


@dataclass(slots=True)
class Stage:
    """What runs.

    Attributes:
        folder: Where logs lie, ``<name>.log``.
        restarts: How often an agent has been started again.
    """

    folder: Path
    restarts: int = 0
    _children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)
    _is_ending: bool = False

    def pid(self, name: str) -> int:
        """Process id of a child: ``cloud``, ``edge-1``, and so on."""
        return self._children[name].pid

    async def start(self, name: str, *command: str) -> None:
        """Start a child in a process group of its own."""
        with (self.folder / f"{name}.log").open("ab") as output:
            self._children[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def keep(self, name: str, *command: str) -> None:
        """Start the child again whenever it ends."""
        self._keepers.append(asyncio.create_task(self._keep(name, command)))

    async def _keep(self, name: str, command: tuple[str, ...]) -> None:
        while True:
            code = await self._children[name].wait()
            if self._is_ending:
                return
            log.warning("%s ended with %s; starting it again", name, code)
            self.restarts += 1
            await asyncio.sleep(RESTART_SECONDS)
            await self.start(name, *command)

    async def serving(self, name: str, target: str, seconds: float) -> None:
        """Wait until a child says that it serves.

        Raises:
            StartError: It ended, or took too long; names its log.
        """
        child = self._children[name]
        asked = asyncio.create_task(_serving(target))
        ended = asyncio.create_task(child.wait())
        done, _ = await asyncio.wait({asked, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (asked, ended):
            task.cancel()
        if asked not in done:
            how = f"ended with {child.returncode}" if ended in done else f"does not serve after {seconds:.0f} s"
            raise StartError(f"{name} {how}; the end of {self.folder / f'{name}.log'}:\n{self._tail(name)}")

    async def end(self) -> None:
        """End every child: SIGTERM first, and SIGKILL for those that stay."""
        self._is_ending = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*(self._end(child) for child in self._children.values()))

    def kill(self) -> None:
        """End every child that is left, at once."""
        for child in self._children.values():
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        if child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()

    def _tail(self, name: str) -> str:
        text = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-12:])


@contextlib.asynccontextmanager
async def running(folder: Path, places: Places) -> AsyncIterator[Stage]:
    """The cloud and every agent, serving; ended on the way out."""
    stage = Stage(folder)
    try:
        await stage.start("cloud", "cloud_worker.cli", "up", "--config", str(places.cloud_config), "--insecure")
        await stage.serving("cloud", places.cloud_target, CLOUD_START_SECONDS)
        for config in places.agent_configs:
            command = ("edge_agent.cli", "run", "--config", str(config), "--insecure")
            await stage.start(config.stem, *command)
            stage.keep(config.stem, *command)
        for name, target in zip(places.devices, places.agent_targets, strict=True):
            await stage.serving(name, target, AGENT_START_SECONDS)
        yield stage
    finally:
        try:
            await stage.end()
        finally:
            stage.kill()  # a second Ctrl-C waits for nobody


async def _serving(target: str) -> None:
    async with open_channel(target, insecure=True) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.RpcError):
                answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(0.1)
