"""Where a row of a log stands."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Position(NamedTuple):
    """The file, or the folder of a table, and the line or row in it, from 1."""

    path: Path
    number: int
