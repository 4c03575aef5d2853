"""The Releases service: gives devices the files of releases, piece by piece, and the metadata that signs them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from cloud_worker.releases.released_files import ReleasedFiles
from router.core.errors import BadInputError
from router.transport.limit_checks import check_message
from router.v1 import release_pb2, release_pb2_grpc

CHUNK_BYTES = 16 * 1024  # so that on a slow line a query has little to wait for


class ReleasesServicer(release_pb2_grpc.ReleasesServicer):
    """Serves ``Fetch``."""

    def __init__(self, files: ReleasedFiles) -> None:
        """Give out ``files``."""
        self._files = files

    async def Fetch(  # noqa: N802 - the contract's name
        self, request: Any, context: Any
    ) -> AsyncIterator[release_pb2.FetchChunk]:
        """Stream a file from an offset."""
        check_message(request)
        with self._files.open(request.task, request.release, request.file) as stream:
            total = os.fstat(stream.fileno()).st_size
            if request.offset > total:
                raise BadInputError("offset", f"is {request.offset}, past the file's {total} bytes")
            end = min(total, request.offset + request.length) if request.length else total
            stream.seek(request.offset)
            position = request.offset
            while True:
                data = stream.read(min(CHUNK_BYTES, end - position))
                yield release_pb2.FetchChunk(data=data, offset=position, total=total)
                position += len(data)
                if position >= end or not data:
                    return
