"""The tables of erasures, in the fleet's database beside those of ``schema``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, String, Table, Text

from cloud_worker.state.columns import name_column, needed, number_column
from cloud_worker.state.schema import METADATA

ERASURES = Table(
    "erasures",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("by_subject", Boolean, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("name", Text, nullable=False),  # until it is done
    Column("at", Float, nullable=False),
    name_column("who"),
    Column("done_at", Float),
    Column("counts", Text, nullable=False),
)
ERASED_KEYS = Table(
    "erased_keys",
    METADATA,
    Column("digest", String(32), primary_key=True),
    *needed(Float, "until"),
)
ERASED_AT_DEVICES = Table(
    "erased_at_devices",
    METADATA,
    name_column("device", key=True),
    number_column("number"),
    *needed(BigInteger, "rows"),
    *needed(Float, "at"),
)
