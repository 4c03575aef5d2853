"""The real commands as child processes: started, restarted when they die, and ended.

Rules:
 * An agent that dies is started again, as systemd would; the cloud's own processes are Ray's to restart. One that keeps
   ending by itself soon after its start ends the demo, with its last words.
 * Whatever happens, no child outlives the demo; on Linux, SIGKILL included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo import leash
from router.core.errors import StartError
from router.identity.bundle import read_bundle
from router.transport.channel import open_channel

log = logging.getLogger(__name__)

STOP_SECONDS = 60.0
RESTART_SECONDS = 0.5
SOON_SECONDS = 60.0
MOST_SOON = 3  # ends in a row, each by itself and soon after its start
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # somebody's doing, as a reader of the demo's page is invited to


@dataclass(slots=True)
class Stage:
    """What runs.

    Attributes:
        folder: Where logs lie, ``<name>.log``.
        group: Holds what starts children again; fails when one is given up.
        restarts: How often an agent has been started again.
    """

    folder: Path
    group: asyncio.TaskGroup
    restarts: int = 0
    _children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)
    _is_ending: bool = False

    def pid(self, name: str) -> int:
        """Process id of a child: ``cloud``, ``edge-1``, and so on."""
        return self._children[name].pid

    async def start(self, name: str, *command: str, pass_fds: Sequence[int] = (), network: str = "") -> None:
        """Start a child in a process group of its own.

        Args:
            name: Of the child.
            command: A module of ours, and its arguments.
            pass_fds: File descriptors that it gets.
            network: Network namespace that it runs in, as a path; empty for our own.
        """
        inside = (shutil.which("nsenter") or "nsenter", f"--net={network}") if network else ()
        with (self.folder / f"{name}.log").open("ab") as output:
            self._children[name] = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid())),
                *(*inside, sys.executable, "-m", *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    def keep(self, name: str, *command: str) -> None:
        """Start the child again whenever it ends; give up, with a ``StartError``, when it keeps ending at its start."""
        self._keepers.append(self.group.create_task(self._keep(name, command)))

    async def _keep(self, name: str, command: tuple[str, ...]) -> None:
        soon = 0
        while True:
            began = time.monotonic()
            code = await self._children[name].wait()
            if self._is_ending:
                return
            at_its_start = code not in _KILLED and time.monotonic() - began < SOON_SECONDS
            soon = soon + 1 if at_its_start else 0
            if soon == MOST_SOON:
                raise StartError(self._ended(name, f"ended with {code}, {soon} times in a row"))
            log.warning("%s ended with %s; starting it again", name, code)
            self.restarts += 1
            await asyncio.sleep(RESTART_SECONDS)
            await self.start(name, *command)

    async def serving(self, name: str, target: str, seconds: float, identity: Path | None = None) -> None:
        """Wait until a child says that it serves; it is asked in plain, or with the ``identity`` in a folder.

        Raises:
            StartError: It ended, or took too long; names its log.
        """
        child = self._children[name]
        asked = asyncio.create_task(_serving(target, identity))
        ended = asyncio.create_task(child.wait())
        done, _ = await asyncio.wait({asked, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (asked, ended):
            task.cancel()
        if asked not in done:
            how = f"ended with {child.returncode}" if ended in done else f"does not serve after {seconds:.0f} s"
            raise StartError(self._ended(name, how))

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

    def _ended(self, name: str, how: str) -> str:
        """How a child ended, and its last words."""
        path = self.folder / f"{name}.log"
        last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        return "\n".join((f"{name} {how}; the end of {path}:", *last))


@contextlib.asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """An empty stage, whose children are ended on the way out; what fails first is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            stage = Stage(folder, group)
            try:
                yield stage
            finally:
                try:
                    await stage.end()
                finally:
                    stage.kill()  # a second Ctrl-C waits for nobody
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _serving(target: str, identity: Path | None) -> None:
    bundle = read_bundle(identity) if identity is not None else None
    async with open_channel(target, insecure=bundle is None, identity=bundle) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.RpcError):
                answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(0.1)
