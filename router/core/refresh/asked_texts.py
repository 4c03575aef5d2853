"""Which texts were asked by when, and whether they are a repertoire that stays.

Rules:
 * A text that was asked in a batch from which a challenger may have learned may be known to it by heart.
 * Whether the repertoire stays goes by drawn rows, since each query has the same chance to be among those: of what
   escalates, the log has more of the texts that a release does not know.
 * Of them what a device drew of one text in a row is one visit; the latest visits tell.
 * It is measured at fixed counts of drawn rows: the same rows say the same, however often they are looked at.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from router.core.arrays import Ints
from router.core.domain.record import Record
from router.core.statistics.likeness import likeness
from router.core.statistics.repertoire import Repertoire, repertoire_of

LATEST = 4_000  # visits
OFTEN, SELDOM = 25, 400  # drawn rows between two measurements, and in between a tenth of those there are
_UNSORTED = 2_048  # texts


class AskedTexts:
    """The texts of one task.

    Attributes:
        repertoire: What the latest drawn rows say of the texts to come.
    """

    def __init__(self) -> None:
        """None yet."""
        self.repertoire = Repertoire()
        self._texts = np.empty(0, np.int64)  # sorted, each once
        self._batches = np.empty(0, np.int64)  # of each, the first
        self._new: dict[int, int] = {}
        self._visits: deque[_Visit] = deque(maxlen=LATEST)
        self._last: dict[str, _Visit] = {}  # of each device
        self._count = 0
        self._measured_at = 0

    def take(self, batch: int, row: Record, *, is_drawn: bool) -> None:
        """Take in the next row of the log."""
        text = likeness(row.text, "", "")[0]
        self._new.setdefault(text, batch)
        if len(self._new) >= _UNSORTED:
            self._sort()
        if is_drawn:
            self._count += 1
            self._visit(row.caller, text or -self._count)
            if self._count >= self._measured_at + min(max(self._measured_at // 10, OFTEN), SELDOM):
                self._measure()

    def forget(self, device: str) -> None:
        """What a device asked says nothing of what will be asked."""
        self._visits = deque((one for one in self._visits if one.device != device), LATEST)
        self._last.pop(device, None)
        self._measure()

    def until(self, batch: int) -> Ints:
        """The numbers of the texts asked up to a batch, sorted."""
        self._sort()
        return self._texts[self._batches <= batch]

    def _sort(self) -> None:
        texts = np.concatenate([self._texts, np.fromiter(self._new.keys(), np.int64, len(self._new))])
        batches = np.concatenate([self._batches, np.fromiter(self._new.values(), np.int64, len(self._new))])
        self._texts, first = np.unique(texts, return_index=True)
        self._batches = batches[first]
        self._new.clear()

    def _visit(self, device: str, text: int) -> None:
        last = self._last.get(device)
        if last is not None and last.text == text:
            last.rows += 1
        else:
            self._last[device] = _Visit(device, text)
            self._visits.append(self._last[device])

    def _measure(self) -> None:
        self._measured_at = self._count
        visits = np.array([(one.text, one.rows) for one in self._visits], np.int64).reshape(-1, 2)
        self.repertoire = repertoire_of(visits[:, 0], visits[:, 1])


@dataclass(slots=True)
class _Visit:
    """What a device drew of one text in a row."""

    device: str
    text: int
    rows: int = 1
