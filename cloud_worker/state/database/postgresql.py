"""The fleet's state on a PostgreSQL, and what that server can't keep or can't do now.

Rules:
 * A server that was started again is used again.
 * What fails between here and the server is told as ``UnavailableError``; what a statement does wrong stays what it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError

from router.core.errors import OperatorError, UnavailableError
from router.io.extras import advice

log = logging.getLogger(__name__)


def open_server(url: URL) -> Engine:
    """An engine for a database that a server keeps; one that can't be reached is raised as ``UnavailableError``.

    Raises:
        OperatorError: It is no PostgreSQL, or what speaks to one is not installed.
    """
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise OperatorError(f"store.url: {url.get_backend_name()} is not known; use sqlite or postgresql")
    if "+" not in url.drivername:
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url, pool_pre_ping=True)  # the server may have been started again
    except ImportError as error:
        raise OperatorError(f"store.url needs what speaks to PostgreSQL: {advice('postgres')}") from error
    event.listen(engine, "handle_error", _say_server)
    event.listen(engine, "before_cursor_execute", _without_nul, retval=True)
    return engine


def _without_nul(_: Any, __: Any, statement: str, values: Any, *___: Any) -> tuple[str, Any]:
    """The values of a statement as PostgreSQL keeps them: its texts hold no NUL."""
    return statement, [_plain(row) for row in values] if isinstance(values, list) else _plain(values)


def _plain(row: Any) -> Any:
    if not isinstance(row, Mapping):
        return row
    return {key: value.replace("\0", "\ufffd") if isinstance(value, str) else value for key, value in row.items()}


def _say_server(context: ExceptionContext) -> None:
    """Raise what failed between here and the server, and not in a statement, as ours."""
    if isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError)) and not context.is_pre_ping:
        log.warning("the fleet's database fails: %s", context.original_exception)
        why = str(context.original_exception).strip().partition("\n")[0]
        raise UnavailableError(f"the fleet's database can't be used now: {why}") from context.original_exception
