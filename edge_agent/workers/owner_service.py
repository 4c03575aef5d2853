"""The owner's side of the socket between the processes of one agent: what workers hand over, hear, and tell."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from edge_agent.answering.feedback_relay import Note
from edge_agent.answering.service import CascadeServicer
from edge_agent.workers.owner_link import APPLIED, SERVICE, TELL, WATCH
from edge_agent.workers.snapshot import Snapshot
from router.core.domain.limits import MAX_ATTEMPT_BYTES
from router.core.errors import StartError
from router.transport.server import Door
from router.v1 import cascade_pb2_grpc

_MOST_PATH = 96  # bytes; a socket's path has little more
_LEAST_FREE = 1_000_000  # bytes
_Context = aio.ServicerContext[Any, Any]


class OwnerService:
    """What one owner serves to its workers. Made inside the running event loop.

    Attributes:
        target: Where workers find it.
        applied: Epoch that each worker knows, by its number.
    """

    def __init__(
        self, data: Path, servicer: CascadeServicer, max_message_bytes: int, noted: Callable[[Sequence[Note]], None]
    ) -> None:
        """Prepare.

        Args:
            data: The data folder, where the socket lies if its path is short enough.
            servicer: Answers what is handed over.
            max_message_bytes: Largest message.
            noted: Hears what workers answered themselves.

        Raises:
            StartError: There is no place for the socket.
        """
        self._folder, self._is_temporary = _folder_for(data)
        self.target = f"unix:{self._folder / 'owner'}"
        self.applied: dict[int, int] = {}
        self._noted = noted
        self._snapshot: Snapshot | None = None
        self._changed = asyncio.Condition()
        self._door = Door(
            self.target, insecure=True, max_message_bytes=max_message_bytes, extra_attempt_bytes=MAX_ATTEMPT_BYTES
        )
        cascade_pb2_grpc.add_CascadeServicer_to_server(servicer.for_workers(), self._door.server)
        raw: dict[str, Any] = {"request_deserializer": bytes, "response_serializer": bytes}
        methods = {
            WATCH: grpc.unary_stream_rpc_method_handler(self._watch, **raw),
            APPLIED: grpc.unary_unary_rpc_method_handler(self._hear_applied, **raw),
            TELL: grpc.unary_unary_rpc_method_handler(self._hear_notes, **raw),
        }
        self._door.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    async def start(self) -> None:
        """Open the socket.

        Raises:
            StartError: It can't be made.
        """
        await self._door.start()

    async def tell(self, snapshot: Snapshot) -> None:
        """Tell all workers, and those that come later."""
        async with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when something holds that workers say."""
        async with self._changed:
            await self._changed.wait_for(is_so)

    async def stop(self) -> None:
        """Close the socket; workers have ended."""
        await self._door.stop(0)
        if self._is_temporary:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(shutil.rmtree, self._folder)

    async def _watch(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        told: Snapshot | None = None
        while True:
            async with self._changed:
                while self._snapshot is told:
                    await self._changed.wait()
                told = self._snapshot
            yield pickle.dumps(told)

    async def _hear_applied(self, request: bytes, context: _Context) -> bytes:
        worker, epoch = pickle.loads(request)
        async with self._changed:
            self.applied[worker] = epoch
            self._changed.notify_all()
        return b""

    async def _hear_notes(self, request: bytes, context: _Context) -> bytes:
        self._noted(pickle.loads(request))
        return b""


def _folder_for(data: Path) -> tuple[Path, bool]:
    """Where the socket can lie, and whether that is a folder made for it."""
    folder = (data / "run").resolve()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if len(str(folder).encode()) < _MOST_PATH and shutil.disk_usage(folder).free > _LEAST_FREE:
            return folder, False
    try:
        return Path(tempfile.mkdtemp(prefix="headrace-")), True
    except OSError as error:
        raise StartError(f"workers need a socket, and there is no place for it: {error.strerror or error}") from error
