"""The tables of the fleet's database, all of them.

A change here is a new revision in ``migrations/versions`` and in ``REVISION``; a test compares both.

Rules:
 * Times are Unix seconds, shares and rates lie in [0, 1].
 * Device, caller and task names have at most 200 characters, hashes in hex 64.
"""

from __future__ import annotations

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

from cloud_worker.state.columns import Named, Several, name_column, needed, number_column, row_key
from cloud_worker.state.states import Phase, ReleaseState, Review
from router.core.certification.class_gate import ClassFigures
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier
from router.core.domain.task import Mode
from router.core.release.orders import Watch
from router.core.statistics.dependence import Dependence
from router.core.statistics.threshold_planning import Point

REVISION = "0007"
OLDER = frozenset({"0001", "0002", "0003", "0004", "0005", "0006"})  # revisions before it

METADATA = MetaData()

_MODE = Named(Mode, Mode.ESCALATE_ALL)  # what can't be read asks the cloud until the operator says otherwise
_WATCH = Named(Watch, Watch.ALARMED)


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
    name_column("name", key=True),
    Column("version", Integer, nullable=False),
    Column("mode", _MODE, nullable=False),
    Column("exploration", Float, nullable=False),
    Column("champion", Integer, nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("phase", Named(Phase, Phase.IDLE), nullable=False),
    Column("phase_note", Text, nullable=False),
    Column("phase_progress", Float, nullable=False),
    *needed(Integer, "attempt", "rows_seen", "rows_at_refresh"),
    Column("refreshed_at", Float, nullable=False),
    Column("log_version_seen", Integer, nullable=False),
    Column("watch", _WATCH, nullable=False),
    Column("updated_at", Float, nullable=False),
)
LEFT = Table(
    "versions_left",
    METADATA,
    name_column("task", key=True),
    number_column("version"),
    Column("attempt", Integer, nullable=False),
    Column("mode", _MODE, nullable=False),
)
RELEASES = Table(
    "releases",
    METADATA,
    name_column("task", key=True),
    number_column("number"),
    Column("state", Named(ReleaseState, ReleaseState.REJECTED), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    *needed(Text, "reason", "remark"),
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
    *needed(Boolean, "alarmed", "lost"),
)
SPENT = Table("spent_rows", METADATA, *row_key(), Column("number", Integer, nullable=False))
LOSSES = Table(
    "losses", METADATA, name_column("task", key=True), Column("at", Float, nullable=False), Column("settled", Float)
)
JUDGES = Table("judges", METADATA, name_column("task", key=True), number_column("version"), name_column("judge"))
ASKED_TWICE = Table(
    "asked_twice",
    METADATA,
    name_column("task", key=True),
    number_column("version"),
    name_column("teacher_version", key=True),
    name_column("caller", key=True),
    Column("query_id", String(64), primary_key=True),
    Column("agreed", Boolean, nullable=False),
    Column("asked_at", Float, nullable=False),
)
FIGURES = Table(
    "figures",
    METADATA,
    name_column("task", key=True),
    Column("version", Integer, nullable=False),
    Column("figures", Text, nullable=False),
)
BLIND = Table(
    "blind",
    METADATA,
    name_column("task", key=True),
    Column("began", Float, primary_key=True),
    Column("ended", Float),
)
POLICIES = Table(
    "pool_policies",
    METADATA,
    name_column("task", key=True),
    number_column("number"),
    Column("version", Integer, nullable=False),
    name_column("reference_version"),
    Column("state", String(20), nullable=False),
    Column("policy", Text, nullable=False),
    Column("rate", Float, nullable=False),
    *needed(Integer, "patience", "rows", "freeze", "served_after"),
    Column("created_at", Float, nullable=False),
    *needed(Text, "note", "figures"),
)

# What operators order.
OVERRIDES = Table(
    "hands",
    METADATA,
    name_column("task", key=True),
    number_column("version"),
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
    name_column("who"),
    name_column("task"),
    Column("did", String(50), nullable=False),
    *needed(Text, "why", "before", "after"),
)

# Devices, and what they report.
DEVICES = Table(
    "devices",
    METADATA,
    name_column("id", key=True),
    Column("seed", LargeBinary(64), nullable=False),
    *needed(Float, "first_seen", "last_seen"),
    Column("report", Text),
)
SEEN = Table(
    "devices_seen",
    METADATA,
    name_column("device", key=True),
    Column("last_seen", Float, nullable=False, index=True),
    name_column("state"),
    Column("outbox_pending", BigInteger, nullable=False),
)
USED = Table("used_devices", METADATA, name_column("device", key=True))
INCARNATIONS = Table(
    "device_lives",
    METADATA,
    name_column("device", key=True),
    Column("life", String(64), primary_key=True),
    Column("last_seen", Float, nullable=False),
    Column("report", Text),
)
SPANS = Table(
    "twins",
    METADATA,
    name_column("device", key=True),
    Column("began", Float, primary_key=True),
    Column("until", Float, nullable=False),
)
QUARANTINES = Table(
    "quarantines",
    METADATA,
    name_column("task", key=True),
    name_column("device", key=True),
    *(Column("since", Float, nullable=False), Column("until", Float), Column("why", Text, nullable=False)),
)
RATES = Table(
    "ordered_rates",
    METADATA,
    name_column("device", key=True),
    name_column("task", key=True),
    Column("since", Float, primary_key=True),
    Column("rate", Float, nullable=False),
)
TURNED_AWAY = Table(
    "turned_away",
    METADATA,
    Column("what", String(20), primary_key=True),
    Column("times", BigInteger, nullable=False),
    name_column("last"),
    Column("at", Float, nullable=False),
    name_column("why"),
)
SUMS = Table(
    "task_sums",
    METADATA,
    name_column("task", key=True),
    *needed(BigInteger, "answered", "covered", "degraded", "escalated", "explored_kept"),
)
TRAFFIC = Table(
    "traffic",
    METADATA,
    name_column("task", key=True),
    number_column("slot"),
    *needed(BigInteger, "answered", "covered"),
    Column("planned", Float, nullable=False),
)
DEVICE_TRAFFIC = Table(
    "device_traffic",
    METADATA,
    name_column("task", key=True),
    number_column("slot"),
    name_column("device", key=True),
    Column("planned", Float, nullable=False),
)
ACCOUNTS = Table(
    "accounts",
    METADATA,
    name_column("task", key=True),
    *needed(Integer, "booking", "day", "queries"),
    *needed(Float, "usd", "costliest"),
)
REPEATS = Table(
    "repeats",
    METADATA,
    name_column("task", key=True),
    name_column("caller", key=True),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
)

# What people say.
GOLD_SECRETS = Table(
    "gold_secrets", METADATA, name_column("task", key=True), Column("secret", LargeBinary(64), nullable=False)
)
DRAWS = Table(
    "gold_draws",
    METADATA,
    *row_key(),
    *needed(Float, "place", "exploration"),
    Column("release", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("twice", Boolean, nullable=False),
    name_column("taken_by"),
    Column("taken_at", Float, nullable=False),
)
GOLD = Table(
    "gold",
    METADATA,
    *row_key(),
    name_column("who", key=True),
    *needed(Text, "subject", "label"),
    *needed(Boolean, "skipped", "blind"),
    Column("labelled_at", Float, nullable=False),
)
FEEDBACK = Table(
    "feedback",
    METADATA,
    name_column("task", key=True),
    name_column("caller", key=True),
    Column("query_id", String(64), primary_key=True),
    name_column("teacher_version"),
    Column("opinion", Named(Opinion, Opinion.WRONG, 10), nullable=False),
    *needed(Text, "correction", "comment"),
    Column("tier", Named(Tier, Tier.CLUSTER, 10), nullable=False),
    Column("release", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("drawn", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
    Column("given_at", Float, nullable=False),
    Column("review", Named(Review, Review.NONE, 10), nullable=False),
    Column("label", Text, nullable=False),
    name_column("reviewed_by"),
    Column("reviewed_at", Float, nullable=False),
)

# Who may come, and who may no longer.
TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    name_column("device"),
    Column("labels", Text, nullable=False),
    name_column("made_by"),
    *needed(Float, "created_at", "expires_at"),
    Column("revoked_at", Float),
    Column("used_at", Float),
    name_column("used_by"),
    Column("key_sha256", String(64), nullable=False),
)
IDENTITIES = Table(
    "identities",
    METADATA,
    Column("role", String(10), primary_key=True),
    name_column("name", key=True),
    Column("labels", Text, nullable=False),
    *needed(Float, "enrolled_at", "expires_at"),
    Column("revoked_at", Float),
)
CERTIFICATES = Table(
    "certificates",
    METADATA,
    Column("role", String(10), primary_key=True),
    name_column("name", key=True),
    Column("serial", String(40), primary_key=True),
    Column("key_sha256", String(64), nullable=False),
    *needed(Float, "issued_at", "expires_at"),
    Column("chain", Text, nullable=False),
)
REVOCATIONS = Table(
    "revocations",
    METADATA,
    Column("serial", String(40), primary_key=True),
    Column("role", String(10), nullable=False),
    name_column("name"),
    *needed(Float, "expires_at", "revoked_at"),
)
