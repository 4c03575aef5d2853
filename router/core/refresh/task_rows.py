"""The rows of one task's log as the loop holds them: sums over all, and the few that are still to be observed.

Rules:
 * A row is taken in once, in the log's order; whether in one piece or in many changes nothing.
 * Held are only rows that a trial may still observe, the latest ``most`` of them, and the latest drawn ones, on which a
   fallback release is observed. All others are counted and forgotten: which ones depends on their draw, device, batch
   and age, never on what they say, so that what a proof looks at stays a fair sample.
 * What teaches is read from the log anew when a fit is due.
 * Rows are held of the reference's latest version, and of the one before: while two gateways change over, both answer.
 * What a device in quarantine gives neither teaches nor says anything, but whether that device may come back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from router.core.certification.certifying_rows import CertifyingRows, counts_for_certain
from router.core.certification.device_quarantine import MOST_ROWS, Quarantines, is_apart, may_show
from router.core.certification.device_shares import LATELY_SECONDS, Presence
from router.core.certification.live_watch import MOST_SINCE
from router.core.certification.missing_rows import DeviceSequences, NumberSequence, SequenceKey, Spans, settled
from router.core.certification.readings import AskedBefore
from router.core.certification.recent_repeats import RecentRepeats
from router.core.certification.trial import Trial
from router.core.domain.record import Record, had_to_be_asked, is_set_aside, may_certify, may_teach
from router.core.domain.task import Kind, Task
from router.core.learning.row_sums import RowSums
from router.core.learning.training_rows import Key
from router.core.refresh.asked_texts import AskedTexts
from router.core.release.kept_texts import KeptTexts

MOST_HELD = 20_000  # rows that a trial may still observe: several times what the most patient one does


@dataclass(slots=True)
class _Current:
    """The rows of the task's present version that one version of the reference answered."""

    sums: RowSums = field(default_factory=RowSums)
    taught: int = 0
    drawn: deque[Record] = field(default_factory=lambda: deque(maxlen=MOST_SINCE))
    repeats: RecentRepeats = field(default_factory=RecentRepeats)
    certifying: CertifyingRows = field(default_factory=lambda: CertifyingRows(MOST_HELD))

    def remember(self, row: Record, *, is_drawn: bool, is_certain: bool, kind: Kind) -> None:
        """Hold what is asked of the latest rows."""
        if is_drawn:
            self.drawn.append(row)
        if is_drawn or is_certain:
            self.repeats.take(row, is_label=kind is Kind.LABEL)

    def forget(self) -> None:
        """Hold no row any more."""
        if self.drawn or len(self.certifying):
            self.drawn.clear()
            self.certifying = CertifyingRows(MOST_HELD)


class TaskRows:
    """The rows of one task that the loop holds.

    Attributes:
        seen: How many rows there are, whatever their version.
        last_batch: The last one of them; -1 before the first.
        version: The reference's latest version, empty before its first row.
        sequences: What devices have kept and not sent.
        newest: Unix time in seconds at which the latest row was received, of whatever version.
    """

    def __init__(self, task: Task, quarantines: Quarantines | None = None) -> None:
        """No row of ``task`` has come yet; the ``quarantines`` of its devices may change."""
        self._task = task
        self._quarantines = {} if quarantines is None else quarantines
        self._shown: dict[str, list[Record]] = {}
        self._by_version: dict[str, _Current] = {}
        self._newest = -math.inf
        self._presence = Presence(LATELY_SECONDS)
        self._freeze: int | None = None
        self._texts = AskedTexts()
        self.seen = 0
        self.last_batch = -1
        self.version = self._before = ""
        self.sequences = DeviceSequences()
        self.newest = -math.inf

    @property
    def _current(self) -> _Current:
        return self._by_version.setdefault(self.version, _Current())

    @property
    def sums(self) -> RowSums:
        """Over the current rows: those of the task's present version and reference, in the latest version of that."""
        return self._current.sums

    @property
    def taught(self) -> int:
        """How many of the current rows may teach."""
        return self._current.taught

    @property
    def drawn(self) -> Sequence[Record]:
        """The latest current rows that were drawn, ``MOST_SINCE`` at most, in the log's order."""
        return self._current.drawn

    @property
    def repeats(self) -> RecentRepeats:
        """How the latest current rows repeat each other."""
        return self._current.repeats

    @property
    def heard(self) -> frozenset[str]:
        """The devices heard of lately."""
        return self._presence.heard()

    def latest_of(self, device: str) -> float:
        """The latest Unix time in seconds at which a row of a device was received, ``-inf`` without any."""
        return self.sequences.latest_of(device)

    def take(self, rows: Iterable[tuple[int, Record]], spent: Set[Key] = frozenset()) -> None:
        """Take in the next rows of the log.

        Args:
            rows: Pairs of batch and record, all of the task.
            spent: Keys that a certificate has observed.
        """
        held: dict[str, list[tuple[int, Record]]] = {}
        for batch, row in rows:
            self.seen += 1
            self.last_batch = max(self.last_batch, batch)
            self.sequences.take(batch, row)
            self.newest = max(self.newest, row.received_at)
            says = not is_apart(row, self._quarantines)
            is_drawn, is_certain = says and may_certify(row), says and had_to_be_asked(row)
            if is_drawn or is_certain:
                self._presence.meet(row.caller, row.received_at)
            if not self._is_of_reference(row):
                continue
            self._texts.take(batch, row, is_drawn=is_drawn)
            if row.received_at > self._newest and row.teacher_version != self.version:
                self._before, self.version = self.version, row.teacher_version
            self._newest = max(self._newest, row.received_at)
            current = self._by_version.setdefault(row.teacher_version, _Current())
            is_spent = row.key in spent
            self._count(current, row, says=says, is_spent=is_spent)
            current.remember(row, is_drawn=is_drawn, is_certain=is_certain, kind=self._task.kind)
            if (is_drawn or is_certain) and not is_spent and self._may_certify(batch, row, is_drawn=is_drawn):
                held.setdefault(row.teacher_version, []).append((batch, row))
        for version, new in held.items():
            self._by_version[version].certifying.add(new)
        for version, known in self._by_version.items():
            if version not in {self.version, self._before}:
                known.forget()

    def _count(self, current: _Current, row: Record, *, says: bool, is_spent: bool) -> None:
        known = self._quarantines.get(row.caller)
        if known is None or not known.lasts:
            current.taught += may_teach(row) or (is_spent and _is_lesson(row))
        else:
            self._let_show(row, known.since)
        if says:
            current.sums.take(row)

    def forget(self, device: str) -> None:
        """Hold nothing of a device that is in quarantine from now on."""
        self._texts.forget(device)
        for known in self._by_version.values():
            known.repeats.forget(device)
            kept = [row for row in known.drawn if row.caller != device]
            known.drawn.clear()
            known.drawn.extend(kept)

    def _let_show(self, row: Record, since: float) -> None:
        """Hold what may show that a device in quarantine may come back, of the latest release."""
        if may_show(row, since):
            held = self._shown.setdefault(row.caller, [])
            if held and held[0].release < row.release:
                held.clear()
            if len(held) < MOST_ROWS and (not held or held[0].release == row.release):
                held.append(row)

    def shown(self, device: str, releases: Set[int]) -> Sequence[Record]:
        """What a device in quarantine has given under one of some releases, the first ``MOST_ROWS`` rows."""
        held = self._shown.get(device, [])
        return held if held and held[0].release in releases else []

    def is_apart(self, row: Record) -> bool:
        """Whether a row says nothing because of its device."""
        return is_apart(row, self._quarantines)

    def _is_of_reference(self, row: Record) -> bool:
        task = self._task
        return row.task_version == task.version and row.teacher == task.reference and row.is_reference

    def _may_certify(self, batch: int, row: Record, *, is_drawn: bool) -> bool:
        """Whether a row may still certify: by the trial that waits, or if it was set aside by a later one."""
        if is_drawn and is_set_aside(row.caller, row.query_id):
            return True
        return self._freeze is not None and batch > self._freeze and (is_drawn or counts_for_certain(row))

    def tell_of_texts(self, trial: Trial) -> None:
        """Let a trial know what was asked up to its freeze, as far as that says little of the texts to come."""
        repertoire = self._texts.repertoire
        stays = repertoire.stays or trial.only_asked
        moves = None if stays else AskedBefore(self._texts.until(trial.freeze), repertoire.piece)
        trial.asked = moves or AskedBefore()

    def asked_until(self, batch: int) -> KeptTexts:
        """The texts asked up to a batch of the log."""
        return KeptTexts(self._texts.until(batch))

    def begin_trial(self, freeze: int) -> None:
        """A challenger waits that may have learned from batches up to ``freeze``: later rows are held for it."""
        self._freeze = freeze

    def end_trial(self) -> None:
        """No challenger waits: held are only the rows that are set aside."""
        if self._freeze is not None:
            self._freeze = None
            for known in self._by_version.values():
                known.certifying.only_set_aside()

    def certifying(
        self, trial: Trial, sequences: Mapping[SequenceKey, NumberSequence], blind: Spans = ()
    ) -> list[Record]:
        """The rows that a trial may observe next, in the log's order.

        Args:
            trial: The challenger's.
            sequences: Where the devices' sequences stand for it.
            blind: When too few rows came to see anything.
        """
        return [row for _, row in settled(self._current.certifying.at_hand(trial), sequences, blind)]

    def spend_held(self) -> tuple[Key, ...]:
        """Let no row asked until now certify anything; return their keys."""
        rows = self._current.certifying.rows
        self.spend(rows)
        return tuple(row.key for row in rows)

    def spend(self, rows: Sequence[Record]) -> None:
        """A certificate has observed some rows: they may teach from now on, and certify nothing more."""
        if rows:
            self._current.taught += sum(_is_lesson(row) and not may_teach(row) for row in rows)
            self._current.certifying.remove({row.key for row in rows})


def _is_lesson(row: Record) -> bool:
    return bool(row.answer) and not row.problem
