"""Bring each task to the release that the cloud ordered: fetch, check, stage, try, activate.

Rules:
 * Nothing of a release is used before its hash is checked: the manifest against the order, each file against the
   manifest.
 * What was fetched is kept as a part, and fetching goes on from its end; a part with a wrong hash is deleted.
 * A release that is refused leaves the old one serving, is reported with the reason, and is not tried again for a
   while. A release that can't be fetched now is tried again, with pauses that grow.
 * Activation is durable before it is visible: first the pointer is committed, then the reference is changed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from edge_agent.releases.trial import try_release
from edge_agent.tasks.all_tasks import Tasks, open_slot
from edge_agent.tasks.hosted_task import HostedTask
from edge_agent.tasks.slots import Slot
from edge_agent.upstream.client import Upstream
from router.core.errors import HeadraceError, ModelError, OperatorError, ReleaseError, UnavailableError
from router.core.release.manifest import MANIFEST_FILE, File, Manifest, check_replacement, digest, read_manifest
from router.core.release.orders import Order
from router.io.redactors import redaction_of

log = logging.getLogger(__name__)

MOST_MANIFEST_BYTES = 4 * 1024 * 1024
SPARED_BYTES = 16 * 1024 * 1024  # of the disk, for the outbox
MOST_SECONDS = 900.0  # for one release; what was fetched until then is kept
REFUSED_SECONDS = 600.0  # before a refused release is looked at again
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds before what could not be fetched is tried again
AGENT_VERSION = version("headrace")


@dataclass(frozen=True, slots=True)
class _Later:
    """What is not to be tried again before a time, and the pause that led to it, in seconds."""

    until: float
    pause: float


class Updater:
    """Installs what is ordered, one release at a time."""

    def __init__(self, tasks: Tasks, upstream: Upstream, changed: Callable[[], None]) -> None:
        """Install for ``tasks``; ``changed`` is called after each activation and refusal."""
        self._tasks = tasks
        self._upstream = upstream
        self._changed = changed
        self._wanted = asyncio.Event()
        self._later: dict[tuple[str, str], _Later] = {}
        self.state = "ok"

    def look(self) -> None:
        """Orders may have changed."""
        self._wanted.set()

    async def run(self) -> None:
        """Install what is ordered, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._next_try()):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            for hosted in self._tasks:
                if self._is_due(hosted):
                    await self.install(hosted)

    async def install(self, hosted: HostedTask) -> None:
        """Bring one task to its ordered release, or note why not."""
        order = hosted.order
        if order is None:
            return
        key = (hosted.name, order.manifest_sha256)
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await self._install(hosted, order)
        except (ReleaseError, ModelError) as error:
            log.error("task %s: release %d is refused: %s", hosted.name, order.release, error)
            hosted.refused[order.release] = str(error)
            self._later[key] = _Later(time.monotonic() + REFUSED_SECONDS, REFUSED_SECONDS)
        except (HeadraceError, OSError, TimeoutError) as error:
            pause = min(2 * self._later[key].pause, LONGEST_PAUSE) if key in self._later else FIRST_PAUSE
            log.warning("task %s: release %d has to wait %.1f s: %s", hosted.name, order.release, pause, _said(error))
            self._later[key] = _Later(time.monotonic() + pause, pause)
            full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            self.state = "disk_full" if full else self.state
            return
        else:
            self.state = "ok"
            self._later.pop(key, None)
            hosted.refused.pop(order.release, None)
        finally:
            hosted.staged = 0
        self._changed()

    async def _install(self, hosted: HostedTask, order: Order) -> None:
        data = await self._fetch_manifest(hosted.name, order)
        manifest = read_manifest(data)
        current = hosted.serving.slot if hosted.serving else None
        check_order(manifest, order)
        check_replacement(manifest, current.manifest if current else None)
        missing = await asyncio.to_thread(hosted.slots.missing, manifest, current)
        _check_room(hosted.slots.folder, sum(file.size for file in missing.values()))
        for name, file in missing.items():
            await self._fetch_part(hosted, order.release, name, file)
        folder = await asyncio.to_thread(hosted.slots.stage, manifest, data, current)
        hosted.staged = manifest.number
        slot = Slot(folder.name, folder, manifest, order.manifest_sha256)
        if manifest.student is not None:
            await try_release(slot, self._tasks.servers)
        serving = await asyncio.to_thread(open_slot, slot, self._tasks.servers)
        await asyncio.to_thread(hosted.slots.commit, order.manifest_sha256)
        hosted.activate(serving)
        log.info("task %s: release %d serves", hosted.name, manifest.number)

    async def _fetch_manifest(self, task: str, order: Order) -> bytes:
        data = b""
        async for piece in self._upstream.fetch(task, order.release, MANIFEST_FILE, 0):
            data += piece
            if len(data) > MOST_MANIFEST_BYTES:
                raise ReleaseError(f"{MANIFEST_FILE} has more than {MOST_MANIFEST_BYTES} bytes")
        if digest(data) != order.manifest_sha256:
            raise ReleaseError(f"{MANIFEST_FILE} has not the SHA-256 that was ordered")
        return data

    async def _fetch_part(self, hosted: HostedTask, release: int, name: str, file: File) -> None:
        part = hosted.slots.part(file)
        with _open_part(part, file.size) as stream:
            held = stream.tell()
            if held < file.size:
                async for piece in self._upstream.fetch(hosted.name, release, name, held):
                    held += len(piece)
                    if held > file.size:
                        stream.truncate(0)
                        raise ReleaseError(f"{name} has more than the {file.size} bytes that the manifest says")
                    stream.write(piece)
        if held < file.size:
            raise UnavailableError(f"{name} ended after {held} of {file.size} bytes")
        await asyncio.to_thread(hosted.slots.check_part, name, file)

    def _is_due(self, hosted: HostedTask) -> bool:
        order = hosted.order
        if order is None or not order.manifest_sha256:
            return False
        if hosted.serving is not None and hosted.serving.slot.manifest_sha256 == order.manifest_sha256:
            return False
        later = self._later.get((hosted.name, order.manifest_sha256))
        return later is None or later.until <= time.monotonic()

    def _next_try(self) -> float | None:
        """Seconds until something that was put off is due, ``None`` when nothing is."""
        ordered = {(hosted.name, hosted.order.manifest_sha256) for hosted in self._tasks if hosted.order}
        self._later = {key: later for key, later in self._later.items() if key in ordered}
        if not self._later:
            return None
        return max(0.0, min(later.until for later in self._later.values()) - time.monotonic())


def check_order(manifest: Manifest, order: Order) -> None:
    """Check that a manifest is what was ordered, and that this agent can run it.

    Raises:
        ReleaseError: It is another release, or needs a newer agent.
    """
    if (manifest.task.name, manifest.number) != (order.task, order.release):
        raise ReleaseError(f"it is release {manifest.number} of {manifest.task.name!r}, which was not ordered")
    try:
        redaction_of(manifest.task.privacy.redact)
    except OperatorError as error:
        raise ReleaseError(f"its texts can't be redacted here: {error}") from error
    if _numbers(manifest.min_agent) > _numbers(AGENT_VERSION):
        raise ReleaseError(f"it needs agent {manifest.min_agent} or newer; this is {AGENT_VERSION}")


def _said(error: Exception) -> str:
    """What keeps a release waiting, in words."""
    if isinstance(error, TimeoutError) and not str(error):
        return f"it was not in place after {MOST_SECONDS:.0f} s; what was fetched is kept"
    return str(getattr(error, "strerror", None) or error)


def _check_room(folder: Path, wanted: int) -> None:
    """Fetch nothing that the disk can't hold: what fills it keeps the outbox from being written.

    Raises:
        OSError: As a write to a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if wanted + SPARED_BYTES > shutil.disk_usage(folder).free:
        raise OSError(
            errno.ENOSPC, f"a release of {wanted} bytes does not fit beside the {SPARED_BYTES} that are spared"
        )


def _open_part(part: Path, size: int) -> IO[bytes]:
    part.parent.mkdir(parents=True, exist_ok=True)
    stream = part.open("ab")
    if stream.tell() > size:
        stream.truncate(0)
    return stream


def _numbers(text: str) -> tuple[int, ...]:
    """``0.10.1`` as numbers, so that it is newer than ``0.9``."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
