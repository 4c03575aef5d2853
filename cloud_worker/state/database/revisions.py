"""Which revision of the schema a database has, and how it comes to this version's.

Rules:
 * A database is made with the whole schema, or not at all; several processes may try at once.
 * An older one is migrated by ``up`` alone, in one transaction under a lock, before anything else opens it: a kill
   leaves it as it was. Everybody else refuses it, and says what to do.
 * A newer one is refused.
 * alembic is loaded only where a migration is due.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert

from cloud_worker.state.database import erasure_tables as _erasure_tables  # noqa: F401 - they join METADATA
from cloud_worker.state.database import rollout_tables as _rollout_tables  # noqa: F401 - as above
from cloud_worker.state.schema import METADATA, OLDER, REVISION, VERSION
from router.core.errors import OperatorError

log = logging.getLogger(__name__)

UNNAMED = ""  # the revision of a database that is older than revisions
_LOCK = 0x6865616472616365  # of PostgreSQL's advisory locks: "headrace"
_HAS_TABLE = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{}'",
    # not to_regclass: within a transaction it may remember that there was none
    "postgresql": "SELECT 1 FROM pg_tables WHERE tablename = '{}' AND schemaname = ANY (current_schemas(false))",
}

First = Callable[[str], Any]  # the first row that a statement gives, ``None`` without one


def revision_of(first: First, database: str) -> str | None:
    """The revision of a database of kind ``sqlite`` or ``postgresql``; ``None`` of one without our tables."""
    has_table = _HAS_TABLE[database]
    if first(has_table.format("tasks")) is None:
        return None
    if first(has_table.format(VERSION.name)) is None:
        return UNNAMED
    row = first(f"SELECT version_num FROM {VERSION.name}")
    return UNNAMED if row is None else str(row[0])


def check_revision(found: str | None) -> None:
    """Refuse a database of another revision than this version's.

    Raises:
        OperatorError: It is older, or newer.
    """
    if found is None or found == REVISION:
        return
    if found == UNNAMED or found in OLDER:
        raise OperatorError(
            "the fleet's database was written by an older version of Headrace; "
            "`headrace-cloud up` brings it to this one when it starts"
        )
    raise OperatorError(
        f"the fleet's database was written by a newer version of Headrace (revision {found}, this one knows "
        f"{REVISION}); install that version, or put a copy of the database from before in its place"
    )


def make_schema(engine: Engine) -> None:
    """Make every table in an empty database; nothing in one of this version's revision.

    Raises:
        OperatorError: It has another revision.
    """
    with engine.connect() as connection:
        found = _found(connection)
    check_revision(found)
    if found is None:
        with engine.begin() as connection:
            _lock(connection)
            if _found(connection) is None:
                METADATA.create_all(connection, checkfirst=False)
                connection.execute(insert(VERSION).values(version_num=REVISION))


def has_schema(engine: Engine) -> bool:
    """Whether our tables are in a database, of whatever revision."""
    with engine.connect() as connection:
        return _found(connection) is not None


def migrate(engine: Engine, finish: Callable[[Connection], None]) -> bool:
    """Bring an older database to this version's revision; whether there was anything to do.

    Args:
        engine: Of the database.
        finish: Does what needs more than SQL, in the same transaction.

    Raises:
        OperatorError: It has a newer one.
    """
    with engine.begin() as connection:
        if _found(connection) in {None, REVISION}:
            return False
        _lock(connection)
        found = _found(connection)  # another may have been first
        if found in {None, REVISION}:
            return False
        if found != UNNAMED and found not in OLDER:
            check_revision(found)
        log.warning("the fleet's database is brought to revision %s", REVISION)
        upgrade(connection)
        finish(connection)
    return True


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to a revision, in the transaction of ``connection``."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _found(connection: Connection) -> str | None:
    return revision_of(lambda statement: connection.exec_driver_sql(statement).first(), connection.dialect.name)


def _lock(connection: Connection) -> None:
    """Be alone until the transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
