"""A mirror as a source of releases: a static tree behind HTTPS, which nobody has to trust.

Rules:
 * What it says of encoding, length and type is not believed: bytes are taken as they come, and checked by whoever
   asked.
 * A mirror that knows no ranges sends the whole file again, or a cache more than was asked for: what is held already is
   passed over.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from edge_agent.releases.sources.source import ReleaseFile
from router.core.errors import BadInputError, ConfigError, UnavailableError, UnknownTaskError
from router.students.writers.server_address import proxies_told

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS, STALLED_SECONDS = 15.0, 60.0
MOST_REDIRECTS = 3
_RANGE = re.compile(r"bytes[ =](\d{1,18})-")
_NOT_THERE = frozenset({403, 404, 410})  # 403: how stores of objects say 404 to whoever may not list them


class MirrorSource:
    """Fetches from a mirror."""

    def __init__(self, metadata_url: str, targets_url: str, files_url: str = "") -> None:
        """Prepare; nothing is connected yet.

        Args:
            metadata_url: Of the folder of metadata.
            targets_url: Of the folder of targets, each named by its hash.
            files_url: Of the folder of releases' files, each by its SHA-256.
        """
        self._urls = {"metadata": metadata_url.rstrip("/"), "targets": targets_url.rstrip("/")}
        self._files_url = files_url.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    @classmethod
    def at(cls, url: str) -> MirrorSource:
        """A mirror whose tree holds ``metadata``, ``targets`` and ``files``."""
        base = url.rstrip("/")
        return cls(f"{base}/metadata", f"{base}/targets", f"{base}/files")

    def repository(self, path: str) -> AsyncIterator[bytes]:
        """See ``Source``."""
        tree, _, name = path.partition("/")
        # python-tuf quotes the names of roles, not those of targets; "#" and "?" would end the path.
        return self._get(f"{self._urls[tree]}/{quote(name) if tree == 'targets' else name}", 0)

    def manifest(self, task: str, release: int) -> AsyncIterator[bytes]:
        """A mirror has signed releases only.

        Raises:
            UnknownTaskError: Always.
        """
        raise UnknownTaskError(f"release {release} of {task!r} is not signed, and a mirror has no others")

    def file(self, wanted: ReleaseFile, offset: int) -> AsyncIterator[bytes]:
        """See ``Source``."""
        return self._get(f"{self._files_url}/{wanted.file.sha256}", offset)

    async def close(self) -> None:
        """See ``Source``."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _get(self, url: str, offset: int) -> AsyncIterator[bytes]:
        import httpx

        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            async with self._connected().stream("GET", url, headers=headers) as response:
                passed_over = _check_answer(response, url, offset)
                async for piece in response.aiter_raw():
                    fresh = piece[passed_over:]
                    passed_over -= len(piece) - len(fresh)
                    if fresh:
                        yield fresh
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, ConfigError) as error:
            raise UnavailableError(f"{url}: {error or type(error).__name__}") from error

    def _connected(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            timeout = httpx.Timeout(STALLED_SECONDS, connect=CONNECT_SECONDS)
            with proxies_told():
                self._client = httpx.AsyncClient(
                    verify=ssl.create_default_context(),  # the system's authorities, as an operator adds to them
                    timeout=timeout,
                    follow_redirects=True,
                    max_redirects=MOST_REDIRECTS,
                )
        return self._client


def _check_answer(response: httpx.Response, url: str, offset: int) -> int:
    """How many bytes of the answer come before ``offset``."""
    if response.status_code in _NOT_THERE:
        raise UnknownTaskError(f"there is no {url}")
    if response.status_code == 416:
        raise BadInputError("offset", f"is {offset}, past the end of {url}")
    if response.status_code == 206:
        said = response.headers.get("Content-Range", "")
        found = _RANGE.match(said)
        if found is None or int(found[1]) > offset:
            raise UnavailableError(f"{url} came as {said[:60]!r}, and byte {offset} was next")
        return offset - int(found[1])
    if response.status_code != 200:
        raise UnavailableError(f"{url} is answered by HTTP status {response.status_code}")
    return offset
