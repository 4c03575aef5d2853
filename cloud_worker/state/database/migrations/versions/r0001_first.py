"""The first revision: the schema of the databases that name no revision, of which some tables came with use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TASK = ("task", "s200", "key")
_ROW = (_TASK, ("caller", "s200", "key"), ("query_id", "s64", "key"), ("teacher_version", "s200", "key"))
_TYPES: dict[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "int": sa.Integer,
    "big": sa.BigInteger,
    "real": sa.Float,
    "text": sa.Text,
    "bool": sa.Boolean,
    "bytes": lambda: sa.LargeBinary(64),
    **{f"s{length}": partial(sa.String, length) for length in (10, 20, 50, 64, 200)},
}

# Of each table its columns: name, type, and whether it is part of the key or may be NULL.
TABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "tasks": (
        ("name", "s200", "key"),
        ("version", "int"),
        ("mode", "s20"),
        ("exploration", "real"),
        ("champion", "int"),
        ("manifest_sha256", "s64"),
        ("phase", "s20"),
        ("phase_note", "text"),
        ("phase_progress", "real"),
        ("attempt", "int"),
        ("rows_seen", "int"),
        ("rows_at_refresh", "int"),
        ("refreshed_at", "real"),
        ("log_version_seen", "int"),
        ("watch", "s20"),
        ("updated_at", "real"),
    ),
    "devices": (
        ("id", "s200", "key"),
        ("seed", "bytes"),
        ("first_seen", "real"),
        ("last_seen", "real"),
        ("report", "text", "null"),
    ),
    "releases": (
        _TASK,
        ("number", "int", "key"),
        ("state", "s20"),
        ("manifest_sha256", "s64"),
        ("created_at", "real"),
        ("note", "text"),
    ),
    "spent_rows": (*_ROW, ("number", "int")),
    "losses": (_TASK, ("at", "real"), ("settled", "real", "null")),
    "versions_left": (_TASK, ("version", "int", "key"), ("attempt", "int"), ("mode", "s20")),
    "devices_seen": (("device", "s200", "key"), ("last_seen", "real"), ("state", "s200"), ("outbox_pending", "big")),
    "task_sums": (_TASK, ("answered", "big"), ("covered", "big"), ("degraded", "big")),
    "accounts": (
        _TASK,
        ("booking", "int"),
        ("day", "int"),
        ("queries", "int"),
        ("usd", "real"),
        ("costliest", "real"),
    ),
    "repeats": (_TASK, ("caller", "s200", "key"), ("place", "big", "key")),
    "traffic": (_TASK, ("slot", "int", "key"), ("answered", "int"), ("covered", "int"), ("planned", "real")),
    "device_traffic": (_TASK, ("slot", "int", "key"), ("device", "s200", "key"), ("planned", "real")),
    "gold_secrets": (_TASK, ("secret", "bytes")),
    "gold_draws": (
        *_ROW,
        ("place", "real"),
        ("exploration", "real"),
        ("release", "int"),
        ("subject", "text"),
        ("twice", "bool"),
        ("taken_by", "s200"),
        ("taken_at", "real"),
    ),
    "gold": (
        *_ROW,
        ("who", "s200", "key"),
        ("subject", "text"),
        ("label", "text"),
        ("skipped", "bool"),
        ("blind", "bool"),
        ("labelled_at", "real"),
    ),
    "blind": (_TASK, ("began", "real", "key"), ("ended", "real", "null")),
    "hands": (
        _TASK,
        ("version", "int", "key"),
        ("frozen", "bool"),
        ("pinned", "int", "null"),
        ("forced", "bool"),
        ("mode_since", "real"),
    ),
    "audit": (
        ("number", "int", "counted"),
        ("at", "real"),
        ("who", "s200"),
        ("task", "s200"),
        ("did", "s50"),
        ("why", "text"),
        ("before", "text"),
        ("after", "text"),
    ),
    "figures": (_TASK, ("version", "int"), ("figures", "text")),
    "judges": (_TASK, ("version", "int", "key"), ("judge", "s200")),
    "asked_twice": (
        _TASK,
        ("version", "int", "key"),
        ("teacher_version", "s200", "key"),
        ("caller", "s200", "key"),
        ("query_id", "s64", "key"),
        ("agreed", "bool"),
        ("asked_at", "real"),
    ),
    "feedback": (
        _TASK,
        ("caller", "s200", "key"),
        ("query_id", "s64", "key"),
        ("teacher_version", "s200"),
        ("opinion", "s10"),
        ("correction", "text"),
        ("comment", "text"),
        ("tier", "s10"),
        ("release", "int"),
        ("answer", "text"),
        ("drawn", "bool"),
        ("subject", "text"),
        ("given_at", "real"),
        ("review", "s10"),
        ("label", "text"),
        ("reviewed_by", "s200"),
        ("reviewed_at", "real"),
    ),
    "pool_policies": (
        _TASK,
        ("number", "int", "key"),
        ("version", "int"),
        ("reference_version", "s200"),
        ("state", "s20"),
        ("policy", "text"),
        ("rate", "real"),
        ("patience", "int"),
        ("rows", "int"),
        ("freeze", "int"),
        ("served_after", "int"),
        ("created_at", "real"),
        ("note", "text"),
        ("figures", "text"),
    ),
    "ordered_rates": (("device", "s200", "key"), ("task", "s200", "key"), ("since", "real", "key"), ("rate", "real")),
    "turned_away": (("what", "s20", "key"), ("times", "big"), ("last", "s200"), ("at", "real"), ("why", "s200")),
    "used_devices": (("device", "s200", "key"),),
    "device_lives": (
        ("device", "s200", "key"),
        ("life", "s64", "key"),
        ("last_seen", "real"),
        ("report", "text", "null"),
    ),
    "twins": (("device", "s200", "key"), ("began", "real", "key"), ("until", "real")),
}


def upgrade() -> None:
    """Make the tables that are missing."""
    for name, columns in TABLES.items():
        op.create_table(name, *(_column(*column) for column in columns), if_not_exists=True)
    op.create_index("ix_devices_seen_last_seen", "devices_seen", ["last_seen"], if_not_exists=True)


def _column(name: str, kind: str, what: str = "") -> sa.Column[object]:
    is_key = what in {"key", "counted"}
    return sa.Column(name, _TYPES[kind](), primary_key=is_key, nullable=what == "null", autoincrement=what == "counted")
