"""The manifest of an ordered release, as far as it is to be believed.

Rules:
 * Where this device has a root, a release is what signed metadata lists, for the task that was signed offline. The
   order chooses among them, and can't add any. Without a root the order's word is taken.
 * What is lost with the folder is the memory of old metadata, and no more: trust begins with the newest root that was
   seen, and the slots know the release in place, below which nothing is taken.
 * Metadata that have expired stop updates, and nothing else; where the device's own clock is wrong, that is told
   instead.
 * python-tuf is loaded with the first release to come, not before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.releases.sources.source import Source
from edge_agent.releases.trust.newest_root import NewestRoot
from edge_agent.tasks.refusals import Refusal, RefusedError
from router.core.errors import ConfigError, ReleaseError
from router.core.release.manifest import MANIFEST_FILE, digest, read_manifest
from router.core.release.orders import Order
from router.core.release.signed_task import check_signed_task, manifest_target, read_signed_task, task_target

if TYPE_CHECKING:
    from edge_agent.releases.trust.bridge import BridgedFetcher

REFRESH_SECONDS = 120.0  # for the metadata, the signed task and the manifest together
MOST_MANIFEST_BYTES = 4 * 1024 * 1024


class Manifests:
    """The signed manifests that one device may believe."""

    def __init__(self, folder: Path, first_root: Callable[[], bytes], source: Source, clock: Callable[[], str]) -> None:
        """Prepare; nothing is read yet.

        Args:
            folder: Keeps what was verified; the newest root beside it, in a file of its name and ``.root``.
            first_root: The root that this device was given, empty where it has none.
            source: Where the repository lies.
            clock: Tells how the device's clock is wrong, ``clock_ahead`` or ``clock_behind``; ``ok`` where it isn't.
        """
        self._folder, self._source, self._clock = folder, source, clock
        self._root = NewestRoot(folder.with_name(f"{folder.name}.root"), first_root)

    @property
    def are_signed(self) -> bool:
        """Whether this device has a root, and takes signed releases alone; so it is where the root can't be read."""
        try:
            return bool(self._root.read())
        except ConfigError:
            return True

    async def ordered(self, order: Order) -> bytes:
        """The manifest that an order names.

        Raises:
            RefusedError: It is not to be believed, and why.
            HeadraceError: It can't be had now.
            OSError: It can't be kept.
        """
        root = self._root.read()
        return await (self._signed(order, root) if root else self._unsigned(order))

    async def _unsigned(self, order: Order) -> bytes:
        data = b""
        async for piece in self._source.manifest(order.task, order.release):
            data += piece
            if len(data) > MOST_MANIFEST_BYTES:
                raise RefusedError(Refusal.ENDLESS, f"{MANIFEST_FILE} has more than {MOST_MANIFEST_BYTES} bytes")
        if digest(data) != order.manifest_sha256:
            raise RefusedError(Refusal.TAMPERED, f"{MANIFEST_FILE} has not the SHA-256 that was ordered")
        return data

    async def _signed(self, order: Order, root: bytes) -> bytes:
        from edge_agent.releases.trust.bridge import BridgedFetcher

        fetcher = BridgedFetcher(self._source, asyncio.get_running_loop(), REFRESH_SECONDS)
        try:
            task, manifest = await asyncio.to_thread(self._read, fetcher, order, root)
        except RefusedError as error:
            raise self._with_clock(error) from error
        finally:
            fetcher.stop()
        _check(order, task, manifest)
        return manifest

    def _read(self, fetcher: BridgedFetcher, order: Order, root: bytes) -> tuple[bytes, bytes]:
        """The signed task and the manifest, both verified. Waits, in a thread."""
        from edge_agent.releases.trust.repository import TrustedRepository

        targets = self._folder / "targets"
        repository = TrustedRepository(self._folder / "metadata", targets, root, fetcher)
        repository.refresh()
        self._root.keep(repository.root())
        task = repository.target(task_target(order.task))
        kept = targets / "manifests" / f"{order.task}.json"  # the newest alone
        return task, repository.target(manifest_target(order.task, order.release), kept)

    def _with_clock(self, error: RefusedError) -> RefusedError:
        clock = self._clock()
        if error.refusal is not Refusal.EXPIRED or clock == "ok":
            return error
        way = "ahead" if clock.endswith("ahead") else "behind"
        return RefusedError(Refusal.CLOCK, f"this device's is {way}, and so no date holds; set it by NTP", mends=True)


def _check(order: Order, task: bytes, manifest: bytes) -> None:
    if digest(manifest) != order.manifest_sha256:
        raise RefusedError(
            Refusal.UNSIGNED,
            f"the order names a {MANIFEST_FILE} of SHA-256 {order.manifest_sha256[:12]}…, and signed is"
            f" {digest(manifest)[:12]}…",
            mends=True,
        )
    read = read_manifest(manifest)
    try:
        check_signed_task(read, read_signed_task(task))
    except ReleaseError as error:
        raise RefusedError(Refusal.OTHER_TASK, str(error)) from error
