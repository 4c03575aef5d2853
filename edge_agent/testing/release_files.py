"""The files of releases as a simulated cloud sends them, with all that goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
from grpc import aio

from edge_agent.testing.faults import Faults
from router.core.errors import (
    BadInputError,
    UnknownTaskError,
)
from router.core.release.manifest import is_plain_name
from router.v1 import (
    release_pb2,
)


class ReleaseFiles:
    """The release files of one simulated cloud."""

    def __init__(self, faults: Callable[[], Faults]) -> None:
        """Hold none; ``faults`` tells what goes wrong now."""
        self._faults_now = faults
        self._files: dict[tuple[str, int, str], bytes] = {}
        self._broken: set[tuple[str, int, str]] = set()

    @property
    def _faults(self) -> Faults:
        return self._faults_now()

    def put(self, task: str, release: int, files: Mapping[str, bytes]) -> None:
        """Hold the files of a release, by name."""
        for name, content in files.items():
            self._files[task, release, name] = content

    async def pieces(
        self, request: release_pb2.FetchRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        """The bytes of a file as they are sent, with all that goes wrong with them."""
        data = self.file(request)
        key = (request.task, request.release, request.file)
        if request.file in self._faults.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        if request.file in self._faults.dripped:
            for position in range(request.offset, len(data)):
                await asyncio.sleep(self._faults.drip_seconds)
                yield data[position : position + 1]
            return
        for start in range(request.offset, len(data), self._faults.chunk_bytes):
            if self._faults.chunk_delay:
                await asyncio.sleep(self._faults.chunk_delay)
            limit = self._faults.break_after
            if limit is not None and start >= limit and key not in self._broken:
                self._broken.add(key)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
            yield data[start : start + self._faults.chunk_bytes]
        while request.file in self._faults.endless:
            yield bytes(self._faults.chunk_bytes)

    def file(self, request: release_pb2.FetchRequest) -> bytes:
        """The file that is asked for, whole.

        Raises:
            BadInputError: A name or the offset can't be.
            UnknownTaskError: There is none.
        """
        if (request.task and not is_plain_name(request.task)) or not is_plain_name(request.file):
            raise BadInputError("file", "and task must be plain names")
        data = self._files.get((request.task, request.release, request.file))
        if data is None:
            raise UnknownTaskError(f"no file {request.file!r} in release {request.release} of {request.task!r}")
        if request.offset > len(data):
            raise BadInputError("offset", f"is {request.offset}, past the file's {len(data)} bytes")
        return data
