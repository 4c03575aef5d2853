"""Drains the spools and erases, once, in this process, as the log's writer does: for commands while nothing runs."""

from __future__ import annotations

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.erasures import Erasures
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.drainer import Drainer
from cloud_worker.log.erasing.concerned import Returning
from cloud_worker.log.erasing.erase import Eraser
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store


def drain_and_erase(config: CloudConfig, store: Store) -> None:
    """Bring what waits in the spools into the log, and carry out what is to be erased. Call it with the folder held."""
    target = DistillationLog(config.log_folder)
    drainer = Drainer(config.spool_folder, target, Repeats(store.engine), Returning(Erasures(store.engine)).among)
    try:
        drainer.drain()
    finally:
        drainer.close()
    Eraser(config, store, target).do_pending()
