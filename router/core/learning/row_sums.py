"""What the loop needs to know of all rows together: sums that grow with each row, so that no row is read twice.

Rules:
 * A row counts one over its propensity: it stands for the queries that were as likely to be asked of the reference.
 * The sums say the same whether rows come one by one or all at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from router.core.domain.record import Record, Source
from router.core.learning.training_rows import would_stay

LEAST_PROPENSITY = 1e-3


@dataclass(slots=True)
class Met:
    """The covered rows that one release met: how many, what they weigh, and what of that stayed."""

    rows: int = 0
    weight: float = 0.0
    kept: float = 0.0


@dataclass(slots=True)
class RowSums:
    """Sums over rows of one version of a task and its reference.

    Attributes:
        queries: For how many queries under the promise they stand.
        met: By release, its rows.
    """

    queries: float = 0.0
    met: dict[int, Met] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Record]) -> Self:
        """The sums over some rows."""
        sums = cls()
        for row in rows:
            sums.take(row)
        return sums

    def take(self, row: Record) -> None:
        """Add a row."""
        if not row.covered or row.degraded:
            return
        weight = 1.0 / max(row.propensity, LEAST_PROPENSITY)
        if row.source in (Source.ESCALATED, Source.TAUGHT):
            self.queries += weight
        if row.exploration > 0:
            met = self.met.setdefault(row.release, Met())
            met.rows += 1
            met.weight += weight
            met.kept += weight * would_stay(row)
