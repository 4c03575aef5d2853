"""The gateway as a source of releases: ``Releases.Fetch`` over the connection that gives way to queries."""

from __future__ import annotations

from collections.abc import AsyncIterator

from edge_agent.releases.sources.source import ReleaseFile
from edge_agent.upstream.client import Upstream
from router.core.release.manifest import MANIFEST_FILE

_MANIFESTS = "targets/models/"


class GatewaySource:
    """Fetches from the next tier."""

    def __init__(self, upstream: Upstream) -> None:
        """Fetch over ``upstream``."""
        self._upstream = upstream

    def repository(self, path: str) -> AsyncIterator[bytes]:
        """See ``Source``."""
        if path.startswith(_MANIFESTS):
            task, _, rest = path.removeprefix(_MANIFESTS).partition("/")
            release, _, _ = rest.partition("/")
            return self.manifest(task, int(release))
        return self._upstream.fetch("", 0, path.rpartition("/")[2], 0)

    def manifest(self, task: str, release: int) -> AsyncIterator[bytes]:
        """See ``Source``."""
        return self._upstream.fetch(task, release, MANIFEST_FILE, 0)

    def file(self, wanted: ReleaseFile, offset: int) -> AsyncIterator[bytes]:
        """See ``Source``."""
        return self._upstream.fetch(wanted.task, wanted.release, wanted.name, offset)

    async def close(self) -> None:
        """The connection is the agent's."""
