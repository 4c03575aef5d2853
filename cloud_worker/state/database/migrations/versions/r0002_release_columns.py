"""Columns of a release in place of its note, which held JSON of two kinds or prose; room for large counts."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SERVED = {"champion", "retired"}
_TEXTS, _FLAGS = ("reason", "remark", "fallen"), ("alarmed", "lost")
_NEW = (
    sa.Column("reason", sa.Text),
    sa.Column("remark", sa.Text),
    sa.Column("rate", sa.Float),
    sa.Column("patience", sa.Float),
    sa.Column("points", sa.Text),
    sa.Column("attempt", sa.Integer),
    sa.Column("freeze", sa.Integer),
    sa.Column("earliest", sa.Float),
    sa.Column("dependence", sa.Text),
    sa.Column("local_share", sa.Float),
    sa.Column("classes", sa.Text),
    sa.Column("back_to", sa.Integer),
    sa.Column("fallen", sa.Text),
    sa.Column("alarmed", sa.Boolean),
    sa.Column("lost", sa.Boolean),
)
_BEFORE = sa.table("releases", *(sa.column(name) for name in ("task", "number", "state", "note")))
_AFTER = sa.table("releases", sa.column("task"), sa.column("number"), *(sa.column(one.name, one.type) for one in _NEW))


def upgrade() -> None:
    """Add the columns, fill them from the notes, and drop these."""
    with op.batch_alter_table("releases") as table:
        for column in _NEW:
            table.add_column(sa.Column(column.name, column.type))
    connection = op.get_bind()
    for row in connection.execute(sa.select(_BEFORE)).all():
        mine = (_AFTER.c.task == row.task) & (_AFTER.c.number == row.number)
        connection.execute(sa.update(_AFTER).where(mine).values(**_told(row.state, row.note)))
    with op.batch_alter_table("releases") as table:
        for name in _TEXTS:
            table.alter_column(name, existing_type=sa.Text(), nullable=False)
        for name in _FLAGS:
            table.alter_column(name, existing_type=sa.Boolean(), nullable=False)
        table.drop_column("note")
    with op.batch_alter_table("traffic") as table:
        for name in ("answered", "covered"):
            table.alter_column(name, existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)


def _told(state: str, note: str) -> dict[str, Any]:
    """The columns of one note; what can't be read is as good as none."""
    empty: dict[str, Any] = dict.fromkeys(_TEXTS, "") | dict.fromkeys(_FLAGS, False)
    if not note.startswith("{"):
        return empty | {"reason": note}
    said = _read(note)
    told = empty | {"remark": str(said.get("remark") or "")}
    if state == "waiting":
        return told | _trial(said)
    return told | (_facts(said) if state in _SERVED | {"building"} else {})


def _trial(said: dict[str, Any]) -> dict[str, Any]:
    try:
        points = [
            {"threshold": float(at), "kept": float(kept), "loss": float(loss)} for at, kept, loss in said["points"]
        ]
        return {"rate": float(said["rate"]), "patience": float(said["patience"]), "points": json.dumps(points)}
    except (KeyError, TypeError, ValueError, OverflowError):
        return {}


def _facts(said: dict[str, Any]) -> dict[str, Any]:
    share, back_to, classes = said.get("local_share"), said.get("back_to"), said.get("classes")
    return {
        "local_share": float(share) if isinstance(share, (int, float)) else None,
        "classes": json.dumps(classes) if classes else None,
        "back_to": back_to if isinstance(back_to, int) else None,
        "fallen": str(said.get("fallen") or ""),
        "alarmed": bool(said.get("alarmed")),
        "lost": bool(said.get("lost")),
    }


def _read(note: str) -> dict[str, Any]:
    try:
        said = json.loads(note)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
