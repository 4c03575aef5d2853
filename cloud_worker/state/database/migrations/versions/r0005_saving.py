"""How many queries asked the large model, in the sums of each task."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NEW = ("escalated", "explored_kept")
_MOST = 2**53
_DEVICES = sa.table("devices", sa.column("report", sa.Text))
_SUMS = sa.table("task_sums", sa.column("task"), *(sa.column(name) for name in _NEW))


def upgrade() -> None:
    """Add the columns, and count the latest reports in."""
    with op.batch_alter_table("task_sums") as table:
        for name in _NEW:
            table.add_column(sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    connection = op.get_bind()
    counts = {name: Counter[str]() for name in _NEW}
    for report in connection.execute(sa.select(_DEVICES.c.report)).scalars():
        for one in _tasks(report):
            for name in _NEW:
                counts[name][one["task"]] += min(int(one.get(name, 0)), _MOST)
    for task in {*counts["escalated"], *counts["explored_kept"]}:
        values = {name: counts[name][task] for name in _NEW}
        connection.execute(sa.update(_SUMS).where(_SUMS.c.task == task).values(**values))


def _tasks(report: str | None) -> list[dict[str, Any]]:
    """Of one report; what can't be read counts for nothing, as in the other sums."""
    try:
        tasks = json.loads(report or "{}")["tasks"]
        return [one for one in tasks if isinstance(one["task"], str) and all(_is_count(one, name) for name in _NEW)]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def _is_count(one: dict[str, Any], name: str) -> bool:
    return isinstance(one.get(name, 0), int)
