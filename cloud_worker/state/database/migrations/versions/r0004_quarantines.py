"""Devices in quarantine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "quarantines",
        sa.Column("task", sa.String(200), primary_key=True),
        sa.Column("device", sa.String(200), primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("until", sa.Float),
        sa.Column("why", sa.Text, nullable=False),
    )
