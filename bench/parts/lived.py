"""Lives of the real loop on recorded scores: what is asked, who answers, and what each release truly loses.

Rules:
 * What decides is ``router.backtest.replay``: here is only the world around it.
 * A text is asked by its number. The reference's answer to it is ``RIGHT``, and ``CHANGED`` where it means something
   that no head has learned.
 * A release's loss is that of a law, over all its cases by their chance: nothing of it is estimated from queries.
 * A student that memorises answers rightly what it was taught, word by word; what it says of calibrating rows, by which
   it is calibrated, is what it would say had it been taught the other folds alone.
 * Where devices remember, the loss of all that serves (student and memories together) is looked at by the law too, when
   a release is released and every ``LOOK_EVERY`` queries. It takes every device to ask the same mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.parts.recorded_scores import OTHERS, SEEDS, SIZES, Recorded
from bench.parts.traffic import Ints, Law, World
from router.backtest.history import History
from router.backtest.logs.reader import Asked
from router.backtest.replay import Replay
from router.backtest.students.student import Fit, ReplayedStudent
from router.core.arrays import Array, Bools
from router.core.certification.refresh_schedule import Pace
from router.core.domain.label_confidence import Reading, scores
from router.core.domain.query import Query
from router.core.domain.record import Record
from router.core.domain.task import Exploration, Objective, Task
from router.core.learning.held_out import Calibrated, LabelMeasures
from router.core.learning.training_rows import FOLDS, calibrating, fold_of
from router.core.refresh import actions
from router.core.statistics.likeness import likeness
from router.core.statistics.threshold_planning import NEVER

RIGHT, CHANGED = "right", "changed"
LABELS = (RIGHT, *(f"wrong {number}" for number in range(1, OTHERS + 1)), CHANGED)
UNKNOWN, CERTAIN = -30.0, 30.0  # logits of a label that no head has learned, and of what was memorised
ASSURANCE = 0.95
LOOK_EVERY = 2_000


@dataclass(frozen=True, slots=True)
class Habit:
    """How devices live: answers that they remember at most, what is explored without a student, and rows of a fit."""

    memory: int = 0
    cold: float = 1.0
    min_rows: int = Pace().min_rows
    early_rows: int = Pace().early_rows


FORGETFUL = Habit()


@dataclass(frozen=True, slots=True)
class RecordedReader:
    """One head, and what is memorised beside it.

    Attributes:
        logits: (texts, 1 + OTHERS) of texts that the head has not seen.
        similarity: (texts,) in [-1, 1].
        taught: Position of the label of each memorised text.
    """

    logits: NDArray[np.float32]
    similarity: NDArray[np.float32]
    taught: Mapping[int, int] = field(default_factory=dict)

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text."""
        return self.of(np.array([int(text) for text in texts]), [self.taught.get(int(text)) for text in texts])

    def of(self, numbers: Ints, known: Sequence[int | None] = ()) -> Reading:
        """Logits and similarity of texts by number, where ``known`` is what is memorised of each; empty for nothing."""
        logits = np.full((len(numbers), len(LABELS)), UNKNOWN)
        logits[:, :-1] = self.logits[numbers]
        similarity = self.similarity[numbers].astype(np.float64)
        memorised = {row: position for row, position in enumerate(known) if position is not None}
        if memorised:
            rows = list(memorised)
            logits[rows] = UNKNOWN
            logits[rows, list(memorised.values())] = CERTAIN
            similarity[rows] = 1.0
        return Reading(logits, similarity)


@dataclass(frozen=True, slots=True)
class Calibrating:
    """What a rule without a proof chooses its threshold from: (rows,) each, and the student that it is for."""

    queries: int
    reader: RecordedReader
    calibrated: Calibrated
    agrees: Bools
    weights: Array

    @property
    def student(self) -> ReplayedStudent:
        """The calibrated student."""
        assert self.calibrated.label is not None
        return ReplayedStudent(LABELS, self.reader, self.calibrated.label)


@dataclass(slots=True)
class RecordedFitter:
    """Takes the head that learned from as many rows, and keeps what each refresh calibrates with.

    Attributes:
        recorded: The heads.
        random: Draws which of those that learned from as many rows.
        memorises: The student also knows by heart what it was taught.
        queries: How many have been asked by now.
        seen: What each refresh calibrated with.
    """

    recorded: Recorded
    random: np.random.Generator
    memorises: bool = False
    queries: int = 0
    seen: list[Calibrating] = field(default_factory=list)

    def fit(self, rows: Sequence[Record]) -> Fit:
        """A head for the release, and another of fewer rows that speaks of the calibrating ones."""
        held = calibrating(rows)
        known = taught_by_fold(rows) if self.memorises else {}
        reader = self._head(len(rows), {text: list(positions.values())[-1] for text, positions in known.items()})
        others = [_known_elsewhere(row, known) for row in held] if self.memorises else []
        reading = self._head(round(len(rows) * (FOLDS - 1) / FOLDS)).of(
            np.array([int(row.text) for row in held]), others
        )
        return Fit(LABELS, reader, held, _Kept(LABELS, reading, self.seen, reader, self.queries))

    def _head(self, rows: int, taught: Mapping[int, int] | None = None) -> RecordedReader:
        size = max(0, int(np.searchsorted(SIZES, rows, side="right")) - 1)
        seed = int(self.random.integers(SEEDS))
        return RecordedReader(self.recorded.logits[size, seed], self.recorded.similarity[size, seed], taught or {})


def taught_by_fold(rows: Sequence[Record]) -> dict[int, dict[int, int]]:
    """Of each text, the position of the label that each fold with it teaches last."""
    known: dict[int, dict[int, int]] = {}
    for row in rows:
        positions, fold = known.setdefault(int(row.text), {}), fold_of(row, FOLDS)
        positions.pop(fold, None)
        positions[fold] = LABELS.index(row.answer)
    return known


def _known_elsewhere(row: Record, known: Mapping[int, Mapping[int, int]]) -> int | None:
    own = fold_of(row, FOLDS)
    return next((position for fold, position in known[int(row.text)].items() if fold != own), None)


@dataclass(frozen=True, slots=True)
class _Kept(LabelMeasures):
    """Measures that keep what they were calibrated with."""

    seen: list[Calibrating]
    reader: RecordedReader
    queries: int

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the score, and keep it beside its rows."""
        calibrated = LabelMeasures.calibrate(self, agrees, weights)
        self.seen.append(Calibrating(self.queries, self.reader, calibrated, agrees, weights))
        return calibrated


@dataclass(frozen=True, slots=True)
class Serving:
    """From query ``queries`` on a student keeps what reaches the threshold: ``NEVER`` where all escalates.

    ``goes_on`` where it had served before, and was suspected or lost a device meanwhile: no new certificate let it.
    ``asking`` are the shares of the queries that mean what they did, and of those that mean something else, whose
    devices are in no quarantine: of the others nothing is kept.
    """

    queries: int
    student: ReplayedStudent | None
    threshold: float
    goes_on: bool = False
    asking: tuple[float, float] = (1.0, 1.0)


class LivedReplay(Replay):
    """The loop, and beside it what stood from when on."""

    def __init__(self, world: World, fitter: RecordedFitter, promise: float, habit: Habit = FORGETFUL) -> None:
        """Start with nothing known, at the product's own pace."""
        exploration = Exploration(cold=habit.cold)
        task = Task("lives", "reference", objective=Objective(promise, ASSURANCE), exploration=exploration)
        rows = stream(world)
        pace = Pace(min_rows=habit.min_rows, early_rows=habit.early_rows)
        super().__init__(rows, [row.answer for row in rows], task, fitter, pace, habit.memory)
        self._recorded = fitter
        self._world = world
        self._remembers = habit.memory > 0
        self.stood: list[Serving] = []
        self.losses: list[float] = []

    def consider(self, rows: list[tuple[int, Record]], queries: int) -> None:
        """Let the loop go on, and look at what all that serves truly loses."""
        super().consider(rows, queries)
        is_new = bool(self.stood) and self.stood[-1].queries == queries
        if self._remembers and (is_new or queries % LOOK_EVERY == 0):
            self.losses.append(self._loss_of_all(queries))

    def _loss_of_all(self, queries: int) -> float:
        """True loss of student and memories together, in [0, 1], now that so many queries were asked."""
        law = self._world.law_at(min(queries, len(self._world.texts) - 1))
        kept, truth, lost = np.zeros(len(law.texts), np.bool_), np.where(law.changed, len(LABELS) - 1, 0), 0.0
        if self.stood and self.loop.keeps:
            lost = loss_of(self.stood[-1], law)
            kept, _ = _said(self.stood[-1], law)
        if not self.loop.keeps:
            return lost
        asked = (self._world.texts[:queries], self._world.devices[:queries])
        now = float(self._world.asked_at[queries - 1])
        for number in np.unique(asked[1]).tolist():
            memory = self._named[name_of(number)].memory
            held = np.full(int(law.texts.max()) + 1, -1)
            for text in np.unique(asked[0][asked[1] == number]).tolist():
                query = Query("", self._task.name, str(text))
                answer = memory.recall(query, self._task, self.loop.releases.exploration, now)
                if answer is not None and text < len(held):
                    held[text] = LABELS.index(answer.text)
            given = held[law.texts]
            share = float((asked[1] == number).mean())
            lost += share * float(law.chances[~kept & ~law.new & (given >= 0) & (given != truth)].sum())
        return lost

    def do(self, action: actions.Action) -> Any:
        """Do it, and keep what stands from then on."""
        self._recorded.queries = self.queries
        outcome = super().do(action)
        match action:
            case actions.Promote(number=number) | actions.ServeAgain(number=number):
                self._stand(self.student(number), outcome.manifest.policy.threshold)
            case actions.EscalateAll():
                self._stand(None, NEVER)
            case actions.SuspectChange(release, is_suspected):
                self._stand(None if is_suspected else self.student(release), self._threshold(release), goes_on=True)
            case actions.SetApart(device) if self.stood:
                self._stand(self.stood[-1].student, self.stood[-1].threshold, goes_on=True, without=device)
            case actions.TakeBack(device) if self.stood:
                self._stand(self.stood[-1].student, self.stood[-1].threshold, goes_on=True, again=device)
        return outcome

    def _stand(
        self,
        student: ReplayedStudent | None,
        threshold: float,
        *,
        goes_on: bool = False,
        without: str = "",
        again: str = "",
    ) -> None:
        apart = {number_of(name) for name in (self.loop.apart | {without}) - {again, ""}}
        free = ~np.isin(self._world.devices, list(apart))
        asking = (_mean(free[~self._world.changed]), _mean(free[self._world.changed]))
        self.stood.append(Serving(self.queries, student, threshold, goes_on, asking))

    def _threshold(self, number: int) -> float:
        return self.loop.releases.served[number].manifest.policy.threshold


@dataclass(frozen=True, slots=True)
class Lived:
    """A life: what was served, what stood when, and what each refresh calibrated with."""

    world: World
    life: History
    stood: tuple[Serving, ...]
    refreshes: tuple[Calibrating, ...]
    losses: tuple[float, ...] = ()  # of student and memories together, each time that they were looked at


def live(
    recorded: Recorded,
    world: World,
    seed: int,
    promise: float,
    kind: type[LivedReplay] = LivedReplay,
    habit: Habit = FORGETFUL,
) -> Lived:
    """One life."""
    fitter = RecordedFitter(recorded, np.random.default_rng(seed), world.memorises)
    replay = kind(world, fitter, promise, habit)
    life = replay.run(seed=seed)
    return Lived(world, life, tuple(replay.stood), tuple(fitter.seen), tuple(replay.losses))


def stream(world: World) -> list[Asked]:
    """The queries as a log has them."""
    columns = (world.texts.tolist(), world.changed.tolist(), world.asked_at.tolist(), world.devices.tolist())
    return [
        Asked(str(text), CHANGED if changed else RIGHT, asked_at=at, device=name_of(device))
        for text, changed, at, device in zip(*columns, strict=True)
    ]


def name_of(number: int) -> str:
    """The name of a device in ``stream``, by its number from 0."""
    return f"device-{number + 1}"


def number_of(name: str) -> int:
    """The number, from 0, of a device's name in ``stream``."""
    return int(name.rpartition("-")[2]) - 1


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else 1.0


def loss_of(serving: Serving, law: Law) -> float:
    """True loss under a law, in [0, 1]."""
    kept, label = _said(serving, law)
    return float(_asking(serving, law)[kept & (label != np.where(law.changed, len(LABELS) - 1, 0))].sum())


def share_kept(serving: Serving, law: Law) -> float:
    """Share of the queries of a law that stay on the device, in [0, 1]."""
    return float(_asking(serving, law)[_said(serving, law)[0]].sum())


def _asking(serving: Serving, law: Law) -> Array:
    """(cases,) the chance of each from a device that may keep it."""
    usual, changed = serving.asking
    return law.chances * np.where(law.changed, changed, usual)


def _said(serving: Serving, law: Law) -> tuple[Bools, Ints]:
    """Of each case: whether its answer is kept, and the position of its label."""
    student = serving.student
    if student is None:
        return np.zeros(len(law.texts), np.bool_), np.zeros(len(law.texts), np.int_)
    reader = student.reader
    assert isinstance(reader, RecordedReader)
    taught = reader.taught
    cases = zip(law.texts.tolist(), law.new.tolist(), strict=True)
    known = [None if is_new else taught.get(text) for text, is_new in cases] if taught else ()
    reading = reader.of(law.texts, known)
    kept = scores(student.calibration, reading.logits, reading.similarity) >= serving.threshold
    if student.keeps is not None:
        kept &= ~law.new & student.keeps.among(np.array([_number(text) for text in law.texts.tolist()], np.int64))
    return kept, reading.logits.argmax(axis=1)


@cache
def _number(text: int) -> int:
    return likeness(str(text), "", "")[0]


def spans(stood: Sequence[Serving], queries: int) -> list[tuple[Serving, int, int]]:
    """Each of them, with its first query and the one after its last."""
    ends = [*(one.queries for one in stood), queries][1:]
    return [(one, one.queries, end) for one, end in zip(stood, ends, strict=True)]
