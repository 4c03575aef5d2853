"""The state of the fleet as a configuration names it, made anew from the releases where its database was lost.

Rules:
 * Numbers and attempts go on after the highest that any release on disk tells: nothing is spent twice.
 * What a watch has seen is lost, so no release keeps anything until an ordinary trial certifies one, or the operator
   pins one by force. What served last stays on the devices, for the time without a cloud.
 * Rows that the log holds by then may have been observed to certify: they certify no more (``settle``).
 * Seeds are lost: a device hears a new one at its next report.
 * An empty database on a server is taken for a lost one where releases lie.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sqlalchemy import URL, make_url

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.read_state import DamagedStoreError, open_to_read
from cloud_worker.state.attempts import Left, leave
from cloud_worker.state.database.engine import ANEW, open_engine
from cloud_worker.state.database.revisions import has_schema
from cloud_worker.state.database.sqlite_files import is_damaged
from cloud_worker.state.lineages import Lineages
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow, Store, migrate_store
from router.core.errors import HeadraceError, UnavailableError
from router.core.release.manifest import MANIFEST_FILE, Manifest, digest
from router.core.release.orders import Watch

log = logging.getLogger(__name__)

LOST = "its state was lost with the fleet's database"


def open_store(config: CloudConfig) -> Store:
    """The store that ``config`` names; ``OperatorError`` where another version of Headrace wrote it."""
    return Store(config.store_url, partial(make_anew, config.releases_folder))


def open_at_start(config: CloudConfig) -> Store:
    """The store that ``config`` names, brought to this version's schema first. Only ``up`` opens it so.

    Raises:
        OperatorError: A newer version of Headrace wrote it.
    """
    file = file_of(config)
    if file is None or file.is_file():
        try:
            migrate_store(config.store_url)
        except UnavailableError as error:
            if error.__cause__ is None or not is_damaged(error.__cause__):
                raise
    store = open_store(config)
    if file is None and not store.task_states():
        _take_up_all(store, config.releases_folder)
    return store


def file_of(config: CloudConfig) -> Path | None:
    """Where the fleet's database lies, ``None`` of one that a server keeps."""
    url = make_url(config.store_url)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def open_for_reading(config: CloudConfig) -> Store:
    """The store that ``config`` names, to be read only: a full disk or another's lock does not matter.

    One that is damaged, or gone from beside its releases, is made anew, as by ``open_store``; before the first start
    there is an empty one, in memory.
    """
    file = file_of(config)
    if file is None:
        engine = open_engine(config.store_url)
        return Store.of(engine) if has_schema(engine) else Store("sqlite://")
    if not os.path.lexists(file) and not config.releases_folder.is_dir():
        return Store("sqlite://")
    try:
        return Store.of(open_to_read(file))
    except DamagedStoreError:
        open_store(config).engine.dispose()
    try:
        return Store.of(open_to_read(file))
    except DamagedStoreError as error:
        raise UnavailableError(ANEW) from error


def make_anew(releases: Path, path: Path) -> None:
    """Write the state of a fleet at ``path``, as far as the folder of its ``releases`` tells it."""
    store = Store(URL.create("sqlite", database=str(path)))
    _take_up_all(store, releases)
    store.engine.dispose()  # what waits in its write-ahead log comes into the file


def _take_up_all(store: Store, releases: Path) -> None:
    folders = sorted(folder for folder in releases.iterdir() if folder.is_dir()) if releases.is_dir() else []
    for folder in folders:
        numbers = sorted(int(one.name) for one in folder.iterdir() if one.name.isascii() and one.name.isdigit())
        if numbers:
            _take_up(store, Publisher(releases), folder.name, numbers)


def _take_up(store: Store, publisher: Publisher, name: str, numbers: list[int]) -> None:
    """Put down the releases of one task, and the last that served, of which nothing stays on a device."""
    found = {number: _manifest(publisher, name, number) for number in numbers}
    manifests = [one for one in found.values() if one is not None]
    served = [one.number for one in manifests if one.student is None or one.certificate is not None]
    for number, manifest in found.items():
        sha256 = "" if manifest is None else _digest(publisher, name, number)
        made = 0.0 if manifest is None else manifest.created_at
        if number in served:
            row = ReleaseRow(name, number, ReleaseState.RETIRED, sha256, made, lost=True)
        else:
            row = ReleaseRow(name, number, ReleaseState.REJECTED, sha256, made, LOST)
        store.add_release(row)
    if not manifests:
        return
    last = manifests[-1]
    store.declare_tasks([last.task])
    attempts = _attempts(manifests)
    lineages = Lineages(store.engine)
    for one in {one.task.version: one for one in manifests if one.judged_by}.values():
        lineages.hold_judge(one.task, one.judged_by)
    with store.engine.begin() as connection:
        for version, attempt in attempts.items():
            leave(connection, name, version, Left(attempt))
    store.update_task(name, attempt=attempts[last.task.version])
    if served:
        champion = found[served[-1]]
        watch = {} if champion is None or champion.student is None else {"watch": Watch.ALARMED}
        store.promote(name, served[-1], _digest(publisher, name, served[-1]), **watch)
    store.note_loss(name, time.time())
    log.error("task %s: the fleet's state was lost; everything escalates until a release is certified anew", name)


def _attempts(manifests: Iterable[Manifest]) -> dict[int, int]:
    """The highest attempt of each version of a task."""
    attempts: dict[int, int] = {}
    for one in manifests:
        made = max(one.lineage.attempt, one.certificate.attempt if one.certificate else 0)
        attempts[one.task.version] = max(attempts.get(one.task.version, 0), made)
    return attempts


def _manifest(publisher: Publisher, task: str, number: int) -> Manifest | None:
    try:
        found = publisher.manifest(task, number)
    except (HeadraceError, OSError):
        return None
    return found if (found.task.name, found.number) == (task, number) else None


def _digest(publisher: Publisher, task: str, number: int) -> str:
    return digest((publisher.path(task, number) / MANIFEST_FILE).read_bytes())
