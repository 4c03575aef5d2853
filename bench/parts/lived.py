"""Lives of the real loop on recorded scores: what is asked, who answers, and what each release truly loses.

Rules:
 * What decides is ``router.backtest.replay``: here is only the world around it.
 * A text is asked by its number. The reference's answer to it is ``RIGHT``, and after a change of meaning ``CHANGED``.
 * A release's loss is that of its law, over all commands by their frequency: nothing of it is estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.parts.recorded_scores import OTHERS, SEEDS, SIZES, Recorded
from router.backtest.history import Life
from router.backtest.logs.reader import Asked
from router.backtest.replay import Replay
from router.backtest.student import Fit, ReplayedStudent
from router.core.certification.live_watch import Lookout
from router.core.certification.missing_rows import Spans
from router.core.certification.refresh_schedule import Pace
from router.core.domain.label_confidence import Reading
from router.core.domain.query import Query
from router.core.domain.record import Record
from router.core.domain.task import Objective, Task
from router.core.learning.held_out import Calibrated, LabelMeasures
from router.core.learning.training_rows import calibrating
from router.core.refresh import actions
from router.core.statistics.threshold_planning import NEVER

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int_]

RIGHT, CHANGED = "right", "changed"
LABELS = (RIGHT, *(f"wrong {number}" for number in range(1, OTHERS + 1)))
COMMANDS, ZIPF_OFFSET, DEVICES = 4_000, 20.0, 10
DRIFT_SHARE = 1 / 15  # of the traffic changes its meaning
ASSURANCE = 0.95


@dataclass(frozen=True, slots=True)
class World:
    """What may be asked, and what is.

    Attributes:
        texts: (commands,) their places among the recorded ones.
        frequency: (commands,) chance of each to be asked; sums to 1.
        asked: (queries,) which command each query is.
        changed: (commands,) which change their meaning.
        change_at: The first query after the change; none where it is the number of queries.
    """

    texts: Ints
    frequency: Array
    asked: Ints
    changed: Bools
    change_at: int

    @classmethod
    def of(cls, seed: int, texts: int, queries: int, change_at: int) -> World:
        """Commands by Zipf, drawn from so many recorded texts."""
        random = np.random.default_rng(seed)
        commands = min(COMMANDS, texts)
        frequency: Array = 1.0 / (np.arange(commands, dtype=np.float64) + ZIPF_OFFSET)
        frequency /= frequency.sum()
        changed = np.zeros(commands, np.bool_)
        shuffled = random.permutation(commands)
        changed[shuffled[np.cumsum(frequency[shuffled]) <= DRIFT_SHARE]] = True
        asked = random.choice(commands, queries, p=frequency)
        return cls(random.permutation(texts)[:commands], frequency, asked, changed, change_at)

    def stream(self) -> list[Asked]:
        """The queries as a log has them."""
        return [
            Asked(str(self.texts[command]), answer, asked_at=float(place))
            for place, (command, answer) in enumerate(zip(self.asked, self.answers(), strict=True))
        ]

    def answers(self) -> list[str]:
        """The reference's answer to each query."""
        turned = self.changed[self.asked] & (np.arange(len(self.asked)) >= self.change_at)
        return [CHANGED if one else RIGHT for one in turned.tolist()]


@dataclass(frozen=True, slots=True)
class RecordedReader:
    """One head: (texts, labels) logits, and (texts,) similarity, of texts that it has not seen."""

    logits: NDArray[np.float32]
    similarity: NDArray[np.float32]

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text."""
        places = [int(text) for text in texts]
        return Reading(self.logits[places].astype(np.float64), self.similarity[places].astype(np.float64))


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
    """Takes the head that learned from as many rows, and keeps what each refresh calibrates with."""

    recorded: Recorded
    random: np.random.Generator
    seen: list[Calibrating] = field(default_factory=list)

    def fit(self, rows: Sequence[Record]) -> Fit:
        """A head for the release, and another of fewer rows that speaks of the calibrating ones."""
        reader, held = self._head(len(rows)), calibrating(rows)
        reading = self._head(round(len(rows) * 0.8)).read([row.text for row in held])
        last = round(max(row.asked_at for row in rows))
        return Fit(LABELS, reader, held, _Kept(LABELS, reading, self.seen, reader, last))

    def _head(self, rows: int) -> RecordedReader:
        size = max(0, int(np.searchsorted(SIZES, rows, side="right")) - 1)
        seed = int(self.random.integers(SEEDS))
        return RecordedReader(self.recorded.logits[size, seed], self.recorded.similarity[size, seed])


@dataclass(frozen=True, slots=True)
class _Kept(LabelMeasures):
    """Measures that keep what they were calibrated with."""

    seen: list[Calibrating]
    reader: RecordedReader
    last: int

    def calibrate(self, agrees: Bools, weights: Array) -> Calibrated:
        """Fit the score, and keep it beside its rows."""
        calibrated = LabelMeasures.calibrate(self, agrees, weights)
        self.seen.append(Calibrating(self.last + 1, self.reader, calibrated, agrees, weights))
        return calibrated


@dataclass(frozen=True, slots=True)
class Serving:
    """From query ``queries`` on a student keeps what reaches the threshold: ``NEVER`` where all escalates."""

    queries: int
    student: ReplayedStudent | None
    threshold: float


class LivedReplay(Replay):
    """The loop, and beside it what stood from when on."""

    def __init__(self, world: World, fitter: RecordedFitter, promise: float) -> None:
        """Start with nothing known, at the product's own pace."""
        task = Task("lives", "reference", objective=Objective(promise, ASSURANCE))
        super().__init__(world.stream(), world.answers(), task, fitter, Pace())
        self.stood: list[Serving] = []

    def do(self, action: actions.Action) -> Any:
        """Do it, and keep what stands from then on."""
        outcome = super().do(action)
        if isinstance(action, actions.Promote | actions.ServeAgain):
            self.stood.append(Serving(self.queries, self.student(action.number), outcome.manifest.policy.threshold))
        elif isinstance(action, actions.EscalateAll):
            self.stood.append(Serving(self.queries, None, NEVER))
        return outcome


class _Unwatched(Lookout):
    """A watch that sees nothing."""

    def look(self, rows: Iterable[Record], blind: Spans = ()) -> bool:
        """Never alarm."""
        del rows, blind
        return False


class UnwatchedReplay(LivedReplay):
    """The loop without its watch."""

    def __init__(self, world: World, fitter: RecordedFitter, promise: float) -> None:
        """Start with nothing known, and nothing watched."""
        super().__init__(world, fitter, promise)
        self.loop.watch_over = _Unwatched.over


@dataclass(frozen=True, slots=True)
class Lived:
    """A life: what was served, what stood when, and what each refresh calibrated with."""

    world: World
    life: Life
    stood: tuple[Serving, ...]
    refreshes: tuple[Calibrating, ...]


def live(recorded: Recorded, world: World, seed: int, promise: float, kind: type[LivedReplay] = LivedReplay) -> Lived:
    """One life."""
    fitter = RecordedFitter(recorded, np.random.default_rng(seed))
    replay = kind(world, fitter, promise)
    life = replay.run(DEVICES, seed)
    return Lived(world, life, tuple(replay.stood), tuple(fitter.seen))


def loss_of(serving: Serving, world: World, *, changed: bool) -> float:
    """True loss over the world's commands, before the change of meaning or after it, in [0, 1]."""
    kept, right = _said(serving, world)
    wrong = ~right | (world.changed if changed else np.zeros_like(right))
    return float(world.frequency[kept & wrong].sum())


def share_kept(serving: Serving, world: World) -> float:
    """Share of the world's queries that stay on the device, in [0, 1]."""
    return float(world.frequency[_said(serving, world)[0]].sum())


def _said(serving: Serving, world: World) -> tuple[Bools, Bools]:
    """Of each command: whether its answer is kept, and whether it is right."""
    if serving.student is None:
        return np.zeros(len(world.texts), np.bool_), np.ones(len(world.texts), np.bool_)
    texts = [str(text) for text in world.texts]
    serving.student.prepare(texts)
    judged = [serving.student.judge(Query("", "lives", text)) for text in texts]
    score = np.array([one.score for one in judged], np.float64)
    return score >= serving.threshold, np.array([one.answer == RIGHT for one in judged])


def spans(stood: Sequence[Serving], queries: int) -> list[tuple[Serving, int, int]]:
    """Each of them, with its first query and the one after its last."""
    ends = [*(one.queries for one in stood[1:]), queries]
    return [(one, one.queries, end) for one, end in zip(stood, ends, strict=True)]
