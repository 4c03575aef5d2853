"""Serves the files of releases to devices, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from router.core.errors import BadInputError, UnknownTaskError
from router.core.release.manifest import is_plain_name
from router.transport.limit_checks import check_message
from router.v1 import release_pb2, release_pb2_grpc

CHUNK_BYTES = 16 * 1024  # so that on a slow line a query has little to wait for


class ReleasesServicer(release_pb2_grpc.ReleasesServicer):
    """Serves the files of releases."""

    def __init__(self, folder: Path) -> None:
        """Serve what lies under ``folder``."""
        self._folder = folder

    async def Fetch(  # noqa: N802 - the contract's name
        self, request: Any, context: Any
    ) -> AsyncIterator[release_pb2.FetchChunk]:
        """Stream a file from an offset."""
        check_message(request)
        path = self._find(request.task, request.release, request.file)
        total = path.stat().st_size
        if request.offset > total:
            raise BadInputError("offset", f"is {request.offset}, past the file's {total} bytes")
        end = min(total, request.offset + request.length) if request.length else total
        with path.open("rb") as stream:
            stream.seek(request.offset)
            position = request.offset
            while True:
                data = stream.read(min(CHUNK_BYTES, end - position))
                yield release_pb2.FetchChunk(data=data, offset=position, total=total)
                position += len(data)
                if position >= end or not data:
                    return

    def _find(self, task: str, number: int, name: str) -> Path:
        if not is_plain_name(task) or not is_plain_name(name):
            raise BadInputError("file", "and task must be plain names")
        path = self._folder / task / str(number) / name
        if not path.is_file():
            raise UnknownTaskError(f"no file {name!r} in release {number} of task {task!r}")
        return path
