"""Rollouts, which devices are in them, and what operators call devices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add their tables."""
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("content", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("base", sa.Integer, nullable=False),
        sa.Column("base_sha256", sa.String(64), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("broken", sa.Text, nullable=False),
        sa.Column("doubted", sa.Text, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("began", sa.Float, nullable=False),
        sa.Column("step_began", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
    )
    op.create_table(
        "rollout_devices",
        sa.Column("rollout", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("device", sa.String(200), primary_key=True),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("before_milliseconds", sa.Float, nullable=False),
        sa.Column("took", sa.Float),
        sa.Column("life", sa.String(64), nullable=False),
        sa.Column("starts", sa.Integer, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
    )
    op.create_table(
        "device_labels",
        sa.Column("device", sa.String(200), primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), nullable=False),
    )
