"""Erases what people said, from the state of the fleet, and writes its database anew."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.log.erasing.concerned import Concerned
from cloud_worker.log.erasing.spools import empty_free_pages
from cloud_worker.releases.recovered_state import file_of
from cloud_worker.state.feedback import Feedbacks
from cloud_worker.state.gold_labels import Gold
from cloud_worker.state.store import Store
from router.core.errors import UnavailableError


def forget_said(store: Store, concerned: Concerned, is_gone: Callable[[str, str], bool]) -> Counter[str]:
    """Erase feedback and labels that ``concerned`` has; how many.

    Args:
        store: The state of the fleet.
        concerned: Whom it concerns.
        is_gone: Whether a query, by caller and id, is erased.
    """
    feedbacks, gold = Feedbacks(store.engine), Gold(store.engine)
    name = {"subject" if concerned.by_subject else "caller": concerned.name}
    return Counter(feedback=feedbacks.forget_queries(is_gone) + feedbacks.forget(**name), labels=gold.forget(**name))


def write_anew(config: CloudConfig, store: Store) -> None:
    """Leave nothing of what was deleted in free pages of the database, which a server's is to see to itself.

    Raises:
        UnavailableError: Another program holds it.
    """
    if file_of(config) is None:
        return
    with contextlib.closing(store.engine.raw_connection()) as raw:
        connection = raw.driver_connection
        assert connection is not None
        connection.commit()
        before, connection.isolation_level = connection.isolation_level, None
        try:
            empty_free_pages(connection)
        except sqlite3.OperationalError as error:
            raise UnavailableError(f"the fleet's database can't be written anew now: {error}") from error
        finally:
            connection.isolation_level = before
