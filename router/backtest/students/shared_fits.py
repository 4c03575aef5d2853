"""Fits shared between promises: until a first release serves, every promise has the same log, and so the same students.

Rules:
 * The same rows make the same student, with the same scores: it is fitted once.
 * It is for the replays of one log with one seed: under another seed an encoder leaves other rows out together.
 * Only the first fits are kept: later ones differ, since releases serve by then, and each takes tens of megabytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from router.backtest.students.student import Fit, Fitter
from router.core.domain.record import Record

MOST_KEPT = 4  # fits


@dataclass(slots=True)
class SharedFits:
    """A fitter that remembers what it has fitted.

    Attributes:
        fitter: Fits what is not known yet.
    """

    fitter: Fitter
    _known: dict[bytes, Fit | None] = field(default_factory=dict)

    def fit(self, rows: Sequence[Record]) -> Fit | None:
        """The fit of some rows, as ``Fitter.fit`` makes it, made once."""
        key = _digest(rows)
        if key in self._known:
            return self._known[key]
        found = self.fitter.fit(rows)
        if len(self._known) < MOST_KEPT:
            self._known[key] = found
        return found


def _digest(rows: Sequence[Record]) -> bytes:
    """The digest of what a fit of some rows of one log depends on: which they are, and how they came to be there."""
    digest = hashlib.sha256()
    for row in rows:
        parts = (row.caller, row.query_id, row.source, str(row.propensity), str(row.covered), str(row.degraded))
        digest.update(("\x1f".join(parts) + "\x1e").encode())
    return digest.digest()
