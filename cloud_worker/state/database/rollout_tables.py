"""Tables of rollouts, and of what operators call devices."""

from __future__ import annotations

from pydantic import TypeAdapter
from sqlalchemy import Column, Float, Integer, String, Table, Text

from cloud_worker.state.columns import Named, Several, name_column, needed, number_column
from cloud_worker.state.schema import METADATA
from router.core.release.rollout import RolloutState

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    name_column("task"),
    Column("state", Named(RolloutState, RolloutState.HALTED), nullable=False),
    *needed(Integer, "content", "number", "base"),
    Column("base_sha256", String(64), nullable=False),
    Column("labels", Text, nullable=False),
    Column("steps", Several(TypeAdapter(tuple[float, ...]), "the steps of a rollout"), nullable=False),
    Column("step", Integer, nullable=False),
    *needed(Text, "why", "broken", "doubted"),
    name_column("who"),
    *needed(Float, "began", "step_began"),
    Column("ended", Float),
)
ROLLOUT_DEVICES = Table(
    "rollout_devices",
    METADATA,
    number_column("rollout"),
    name_column("device", key=True),
    Column("step", Integer, nullable=False),
    *needed(Float, "since", "before_milliseconds"),
    Column("took", Float),
    Column("life", String(64), nullable=False),
    Column("starts", Integer, nullable=False),
    Column("started", Float, nullable=False),
)
DEVICE_LABELS = Table(
    "device_labels",
    METADATA,
    name_column("device", key=True),
    Column("name", String(32), primary_key=True),
    Column("value", String(64), nullable=False),
)
