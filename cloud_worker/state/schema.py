"""The tables of the fleet's database, all of them.

A change here is a new revision in ``migrations/versions`` and in ``REVISION``; a test compares both.

Rules:
 * Times are Unix seconds, shares and rates lie in [0, 1].
 * Device, caller and task names have at most 200 characters, hashes in hex 64.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from cloud_worker.state.states import Phase, ReleaseState, Review
from cloud_worker.state.stored_values import Named, Several
from router.core.certification.class_gate import ClassFigures
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier
from router.core.domain.task import Mode
from router.core.release.orders import Watch
from router.core.statistics.dependence import Dependence
from router.core.statistics.threshold_planning import Point

REVISION = "0003"
OLDER = frozenset({"0001", "0002"})  # revisions before it

METADATA = MetaData()

_MODE = Named(Mode, Mode.ESCALATE_ALL)  # what can't be read asks the cloud until the operator says otherwise
_WATCH = Named(Watch, Watch.ALARMED)


def _name(column: str, *, key: bool = False) -> Column[str]:
    return Column(column, String(200), primary_key=True) if key else Column(column, String(200), nullable=False)


def _number(column: str) -> Column[int]:
    return Column(column, Integer, primary_key=True, autoincrement=False)


def _row_key() -> list[Column[Any]]:
    """Key of a row of the log, of one task."""
    query = Column("query_id", String(64), primary_key=True)
    return [_name("task", key=True), _name("caller", key=True), query, _name("teacher_version", key=True)]


VERSION = Table(  # as alembic makes it
    "alembic_version",
    METADATA,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

# Tasks and their releases.
TASKS = Table(
    "tasks",
    METADATA,
    _name("name", key=True),
    Column("version", Integer, nullable=False),
    Column("mode", _MODE, nullable=False),
    Column("exploration", Float, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("phase", Named(Phase, Phase.IDLE), nullable=False),
    Column("phase_note", Text, nullable=False),
    Column("phase_progress", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("rows_seen", Integer, nullable=False),
    Column("rows_at_refresh", Integer, nullable=False),
    Column("refreshed_at", Float, nullable=False),
    Column("log_version_seen", Integer, nullable=False),
    Column("watch", _WATCH, nullable=False),
    Column("updated_at", Float, nullable=False),
)
LEFT = Table(
    "versions_left",
    METADATA,
    _name("task", key=True),
    _number("version"),
    Column("attempt", Integer, nullable=False),
    Column("mode", _MODE, nullable=False),
)
RELEASES = Table(
    "releases",
    METADATA,
    _name("task", key=True),
    _number("number"),
    Column("state", Named(ReleaseState, ReleaseState.REJECTED), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("remark", Text, nullable=False),
    Column("rate", Float),
    Column("patience", Float),
    Column("points", Several(TypeAdapter(tuple[Point, ...]), "the thresholds that a challenger was to prove")),
    Column("attempt", Integer),
    Column("freeze", Integer),
    Column("earliest", Float),
    Column("dependence", Several(TypeAdapter(tuple[Dependence, ...]), "how a challenger's rows depend on each other")),
    Column("local_share", Float),
    Column("classes", Several(TypeAdapter(tuple[ClassFigures, ...]), "the figures of a release's classes")),
    Column("back_to", Integer),
    Column("fallen", Text, nullable=False),
    Column("alarmed", Boolean, nullable=False),
    Column("lost", Boolean, nullable=False),
)
SPENT = Table("spent_rows", METADATA, *_row_key(), Column("number", Integer, nullable=False))
LOSSES = Table(
    "losses", METADATA, _name("task", key=True), Column("at", Float, nullable=False), Column("settled", Float)
)
JUDGES = Table("judges", METADATA, _name("task", key=True), _number("version"), _name("judge"))
ASKED_TWICE = Table(
    "asked_twice",
    METADATA,
    _name("task", key=True),
    _number("version"),
    _name("teacher_version", key=True),
    _name("caller", key=True),
    Column("query_id", String(64), primary_key=True),
    Column("agreed", Boolean, nullable=False),
    Column("asked_at", Float, nullable=False),
)
FIGURES = Table(
    "figures",
    METADATA,
    _name("task", key=True),
    Column("version", Integer, nullable=False),
    Column("figures", Text, nullable=False),
)
BLIND = Table(
    "blind",
    METADATA,
    _name("task", key=True),
    Column("began", Float, primary_key=True),
    Column("ended", Float),
)
POLICIES = Table(
    "pool_policies",
    METADATA,
    _name("task", key=True),
    _number("number"),
    Column("version", Integer, nullable=False),
    _name("reference_version"),
    Column("state", String(20), nullable=False),
    Column("policy", Text, nullable=False),
    Column("rate", Float, nullable=False),
    Column("patience", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("freeze", Integer, nullable=False),
    Column("served_after", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("note", Text, nullable=False),
    Column("figures", Text, nullable=False),
)

# What operators order.
HANDS = Table(
    "hands",
    METADATA,
    _name("task", key=True),
    _number("version"),
    Column("frozen", Boolean, nullable=False),
    Column("pinned", Integer),
    Column("forced", Boolean, nullable=False),
    Column("mode_since", Float, nullable=False),
)
AUDIT = Table(
    "audit",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    _name("who"),
    _name("task"),
    Column("did", String(50), nullable=False),
    Column("why", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
)

# Devices, and what they report.
DEVICES = Table(
    "devices",
    METADATA,
    _name("id", key=True),
    Column("seed", LargeBinary(64), nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("report", Text),
)
SEEN = Table(
    "devices_seen",
    METADATA,
    _name("device", key=True),
    Column("last_seen", Float, nullable=False, index=True),
    _name("state"),
    Column("outbox_pending", BigInteger, nullable=False),
)
USED = Table("used_devices", METADATA, _name("device", key=True))
LIVES = Table(
    "device_lives",
    METADATA,
    _name("device", key=True),
    Column("life", String(64), primary_key=True),
    Column("last_seen", Float, nullable=False),
    Column("report", Text),
)
SPANS = Table(
    "twins",
    METADATA,
    _name("device", key=True),
    Column("began", Float, primary_key=True),
    Column("until", Float, nullable=False),
)
RATES = Table(
    "ordered_rates",
    METADATA,
    _name("device", key=True),
    _name("task", key=True),
    Column("since", Float, primary_key=True),
    Column("rate", Float, nullable=False),
)
TURNED_AWAY = Table(
    "turned_away",
    METADATA,
    Column("what", String(20), primary_key=True),
    Column("times", BigInteger, nullable=False),
    _name("last"),
    Column("at", Float, nullable=False),
    _name("why"),
)
SUMS = Table(
    "task_sums",
    METADATA,
    _name("task", key=True),
    Column("answered", BigInteger, nullable=False),
    Column("covered", BigInteger, nullable=False),
    Column("degraded", BigInteger, nullable=False),
)
TRAFFIC = Table(
    "traffic",
    METADATA,
    _name("task", key=True),
    _number("slot"),
    Column("answered", BigInteger, nullable=False),
    Column("covered", BigInteger, nullable=False),
    Column("planned", Float, nullable=False),
)
DEVICE_TRAFFIC = Table(
    "device_traffic",
    METADATA,
    _name("task", key=True),
    _number("slot"),
    _name("device", key=True),
    Column("planned", Float, nullable=False),
)
ACCOUNTS = Table(
    "accounts",
    METADATA,
    _name("task", key=True),
    Column("booking", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    Column("queries", Integer, nullable=False),
    Column("usd", Float, nullable=False),
    Column("costliest", Float, nullable=False),
)
REPEATS = Table(
    "repeats",
    METADATA,
    _name("task", key=True),
    _name("caller", key=True),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
)

# What people say.
GOLD_SECRETS = Table(
    "gold_secrets", METADATA, _name("task", key=True), Column("secret", LargeBinary(64), nullable=False)
)
DRAWS = Table(
    "gold_draws",
    METADATA,
    *_row_key(),
    Column("place", Float, nullable=False),
    Column("exploration", Float, nullable=False),
    Column("release", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("twice", Boolean, nullable=False),
    _name("taken_by"),
    Column("taken_at", Float, nullable=False),
)
GOLD = Table(
    "gold",
    METADATA,
    *_row_key(),
    _name("who", key=True),
    Column("subject", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("skipped", Boolean, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("labelled_at", Float, nullable=False),
)
FEEDBACK = Table(
    "feedback",
    METADATA,
    _name("task", key=True),
    _name("caller", key=True),
    Column("query_id", String(64), primary_key=True),
    _name("teacher_version"),
    Column("opinion", Named(Opinion, Opinion.WRONG, 10), nullable=False),
    Column("correction", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("tier", Named(Tier, Tier.CLUSTER, 10), nullable=False),
    Column("release", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("drawn", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
    Column("given_at", Float, nullable=False),
    Column("review", Named(Review, Review.NONE, 10), nullable=False),
    Column("label", Text, nullable=False),
    _name("reviewed_by"),
    Column("reviewed_at", Float, nullable=False),
)

# Who may come, and who may no longer.
TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    _name("device"),
    Column("labels", Text, nullable=False),
    _name("made_by"),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("used_at", Float),
    _name("used_by"),
    Column("key_sha256", String(64), nullable=False),
)
IDENTITIES = Table(
    "identities",
    METADATA,
    Column("role", String(10), primary_key=True),
    _name("name", key=True),
    Column("labels", Text, nullable=False),
    Column("enrolled_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float),
)
CERTIFICATES = Table(
    "certificates",
    METADATA,
    Column("role", String(10), primary_key=True),
    _name("name", key=True),
    Column("serial", String(40), primary_key=True),
    Column("key_sha256", String(64), nullable=False),
    Column("issued_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("chain", Text, nullable=False),
)
REVOCATIONS = Table(
    "revocations",
    METADATA,
    Column("serial", String(40), primary_key=True),
    Column("role", String(10), nullable=False),
    _name("name"),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=False),
)
