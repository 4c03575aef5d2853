"""Bring each task to the release that the cloud ordered: fetch, check, stage, try, activate.

Rules:
 * Nothing of a release is used before it is checked: the manifest against signed metadata, or against the order where
   this device has no root, and each file against the manifest.
 * What lies here already is never fetched again.
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

from edge_agent.releases.downloading import fetch_part
from edge_agent.releases.sources.source import ReleaseFile, Source
from edge_agent.releases.trial import try_release
from edge_agent.releases.trust.manifests import Manifests
from edge_agent.tasks.all_tasks import Tasks, open_slot
from edge_agent.tasks.hosted_task import HostedTask
from edge_agent.tasks.refusals import Refusal, RefusedError
from edge_agent.tasks.slots import Slot
from router.core.errors import HeadraceError, ModelError, OperatorError, ReleaseError
from router.core.release.manifest import Manifest, check_replacement, read_manifest
from router.core.release.orders import Order
from router.core.release.portable import has_float32, in_float32, without_float32
from router.io.redactors import redaction_of

log = logging.getLogger(__name__)

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

    def __init__(self, tasks: Tasks, source: Source, manifests: Manifests, changed: Callable[[], None]) -> None:
        """Prepare.

        Args:
            tasks: Take the releases.
            source: Where releases come from.
            manifests: Says which of them are to be believed.
            changed: Called after each activation and refusal.
        """
        self._tasks, self._source, self._manifests = tasks, source, manifests
        self._changed = changed
        self._wanted = asyncio.Event()
        self._later: dict[tuple[str, str], _Later] = {}
        self.state = "ok"

    def begin(self) -> None:
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
                if hosted.forget_idle:
                    await asyncio.to_thread(hosted.slots.tidy)
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
        except (HeadraceError, OSError, TimeoutError) as error:
            if not self._put_off(hosted, order, _as_refusal(error)):
                return
        else:
            self.state = "ok"
            self._later.pop(key, None)
            hosted.refused.pop(order.release, None)
        finally:
            hosted.staged = 0
        self._changed()

    def _put_off(self, hosted: HostedTask, order: Order, error: Exception) -> bool:
        """Note what keeps a release from being installed; whether the fleet is to hear of it at once."""
        key, now = (hosted.name, order.manifest_sha256), time.monotonic()
        refused = isinstance(error, ReleaseError | ModelError)
        is_new = refused and hosted.refused.get(order.release) != str(error)
        if refused:
            hosted.refused[order.release] = str(error)
        if refused and not (isinstance(error, RefusedError) and error.mends):
            log.error("task %s: release %d is refused: %s", hosted.name, order.release, error)
            self._later[key] = _Later(now + REFUSED_SECONDS, REFUSED_SECONDS)
            return True
        pause = min(2 * self._later[key].pause, LONGEST_PAUSE) if key in self._later else FIRST_PAUSE
        log.warning("task %s: release %d has to wait %.1f s: %s", hosted.name, order.release, pause, _said(error))
        self._later[key] = _Later(now + pause, pause)
        full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        self.state = "disk_full" if full else self.state
        return is_new

    async def _install(self, hosted: HostedTask, order: Order) -> None:
        data = await self._manifests.ordered(order)
        manifest = read_manifest(data)
        current = hosted.serving.slot if hosted.serving else None
        check_order(manifest, order)
        check_replacement(manifest, current.manifest if current else None)
        try:
            slot = await self._stage(hosted, without_float32(manifest), data)
        except (ReleaseError, ModelError) as error:
            if not has_float32(manifest) or hosted.staged != manifest.number:
                raise
            log.warning("task %s: release %d is tried in float32: %s", hosted.name, manifest.number, error)
            slot = await self._stage(hosted, in_float32(manifest), data, str(error))
        serving = await asyncio.to_thread(open_slot, slot, self._tasks.servers)
        probation = serving.student is not None
        await asyncio.to_thread(hosted.slots.commit, order.manifest_sha256, probation=probation)
        hosted.activate(serving)
        if hosted.forget_idle:
            await asyncio.to_thread(hosted.slots.tidy)
        log.info("task %s: release %d serves", hosted.name, manifest.number)

    async def _stage(self, hosted: HostedTask, manifest: Manifest, data: bytes, float32_because: str = "") -> Slot:
        """Fetch what is missing, put the release into the idle slot, and try it there."""
        missing = await asyncio.to_thread(hosted.slots.missing, manifest)
        _check_space(hosted.slots.folder, sum(file.size for file in missing.values()))
        for name, file in missing.items():
            await fetch_part(self._source, hosted.slots, ReleaseFile(hosted.name, manifest.number, name, file))
        slot = await asyncio.to_thread(hosted.slots.stage, manifest, data, float32_because)
        hosted.staged = manifest.number
        if manifest.student is not None:
            await try_release(slot, self._tasks.servers)
        return slot

    def _is_due(self, hosted: HostedTask) -> bool:
        order = hosted.order
        if order is None or order.manifest_sha256 in {"", hosted.crashed}:
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


def _as_refusal(error: Exception) -> Exception:
    """A time that is over is a reason like any other."""
    if isinstance(error, TimeoutError) and not isinstance(error, HeadraceError) and not error.errno:
        said = f"it was not in place after {MOST_SECONDS:.0f} s; what was fetched is kept"
        return RefusedError(Refusal.SLOW, said, mends=True)
    return error


def _said(error: Exception) -> str:
    """What keeps a release waiting, in words."""
    return str(getattr(error, "strerror", None) or error)


def _check_space(folder: Path, wanted: int) -> None:
    """Fetch nothing that the disk can't hold: what fills it keeps the outbox from being written.

    Raises:
        OSError: As a write to a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if wanted + SPARED_BYTES > shutil.disk_usage(folder).free:
        raise OSError(
            errno.ENOSPC, f"a release of {wanted} bytes does not fit beside the {SPARED_BYTES} that are spared"
        )


def _numbers(text: str) -> tuple[int, ...]:
    """``0.10.1`` as numbers, so that it is newer than ``0.9``."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
