"""A log replayed through the loop: cold start, exploration, refreshes, certificates, watch; all in memory.

What decides is the loop's own step (``router.core.refresh``), with the draw and the decision. Here is only what stands
between them on a real fleet: devices that ask, a log that grows, and what a store, releases and models would answer.

Rules:
 * A query is answered before anything is learned from it. What escalates or is explored comes to the log, nothing else.
 * Every ``STRIDE`` queries the log is read, and what follows from it takes no time.
 * Everything that is drawn follows from the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from router.backtest.history import History, Served
from router.backtest.logs.reader import Asked
from router.backtest.replayed_device import OrdersInForce, ReplayedDevice
from router.backtest.replayed_releases import ReplayedReleases
from router.backtest.students.student import Fitter, ReplayedStudent
from router.core.certification.refresh_schedule import Pace
from router.core.domain.query import Query
from router.core.domain.record import Record
from router.core.domain.task import Mode, Task, agree
from router.core.learning.training_rows import Key, teachable
from router.core.monitoring.remembered_answers import MemoryBounds
from router.core.policy.exploration import SEED_BYTES
from router.core.refresh import actions
from router.core.refresh.loop_state import LoopState, StepInputs, TaskReleases
from router.core.refresh.step import carry_out, step

STRIDE = 100
READ_AHEAD = 500

Progress = Callable[[int], None]


class Replay:
    """The replay of one task on a log.

    Attributes:
        loop: What decides.
        log: Pairs of batch and record, as a cloud would have them.
        spent: Keys of the rows that a certificate has observed.
        queries: How many had been answered when the log was read last.
    """

    def __init__(
        self,
        rows: Sequence[Asked],
        labels: Sequence[str],
        task: Task,
        fitter: Fitter,
        pace: Pace,
        memory: int = 0,
    ) -> None:
        """Start with nothing known.

        Args:
            rows: The queries, in the order of asking.
            labels: The large model's answer to each, equal where the judge calls two the same.
            task: The objective, the judge, and how much is explored.
            fitter: Makes students.
            pace: How often.
            memory: Answers of the large model that each device remembers at most; 0 for none.
        """
        self._asked = rows
        self._labels = labels
        self._task = task
        self._fitter = fitter
        self.loop = LoopState(task, self._agree, pace, TaskReleases(task.exploration.cold))
        self.log: list[tuple[int, Record]] = []
        self.spent: set[Key] = set()
        self._history = History()
        self._releases = ReplayedReleases(task, self._history)
        self._memory = MemoryBounds(memory)
        self._named: dict[str, ReplayedDevice] = {}
        self._seed = self.queries = 0

    def run(self, devices: int = 1, seed: int = 0, progress: Progress = lambda done: None) -> History:
        """Live: ask every query of the device that it names, or of one of ``devices`` in turn, with draws by ``seed``.

        Raises:
            ModelError: A student failed.
        """
        self._seed = seed
        fleet = [self._made(f"device-{number}", number) for number in range(1, devices + 1)]
        self._named = {name: self._made(name, name) for name in {row.device for row in self._asked} - {""}}
        for start in range(0, len(self._asked), STRIDE):
            stride = range(start, min(start + STRIDE, len(self._asked)))
            self._ahead(stride)
            answered = [self._answer(position, self._device(position, fleet)) for position in stride]
            self.consider([(start // STRIDE, record) for record in answered if record is not None], stride.stop)
            progress(stride.stop)
        return self._history

    def _made(self, name: str, number: int | str) -> ReplayedDevice:
        return ReplayedDevice(name, device_seed(self._seed, number), self._task, self._memory)

    def _ahead(self, stride: range) -> None:
        """Let the student read some texts together; it learns nothing from that."""
        if stride.start % READ_AHEAD == 0:
            self._prepare(stride.start)

    def _prepare(self, start: int) -> None:
        student = self.student(self.loop.releases.champion)
        if student is not None:
            student.prepare([asked.text for asked in self._asked[start : start + READ_AHEAD]])

    def student(self, number: int) -> ReplayedStudent | None:
        """The student of a release, ``None`` of release 0."""
        return self._releases.student(number)

    def _answer(self, position: int, device: ReplayedDevice) -> Record | None:
        """One query at its device, and what the log gets of it, if anything."""
        asked, orders = self._asked[position], self._orders_of(device)
        query = Query(query_id(self._seed, position), self._task.name, asked.text)
        given = device.answer(query, orders, asked.asked_at)
        reference = self._labels[position]
        answer = reference if given.answer is None else given.answer
        self._history.served.append(
            Served(
                position=position,
                local=given.kept,
                cloud=given.is_asked,
                explored=given.explored,
                remembered=given.remembered,
                agrees=self._agree(asked.text, answer, reference),
                right=None if asked.label is None else self._agree(asked.text, answer, asked.label),
                release=orders.release,
            )
        )
        return device.taught(query, given, orders, reference, asked.asked_at) if given.is_asked else None

    def _orders_of(self, device: ReplayedDevice) -> OrdersInForce:
        releases = self.loop.releases
        serving = releases.serving
        return OrdersInForce(
            release=releases.champion,
            student=self.student(releases.champion),
            threshold=None if serving is None else serving.manifest.policy.threshold,
            exploration=releases.exploration,
            mode=Mode.SERVE if self.loop.keeps and not self._is_apart(device.name) else Mode.ESCALATE_ALL,
        )

    def _device(self, position: int, fleet: Sequence[ReplayedDevice]) -> ReplayedDevice:
        """Who asks: the device that the query names, or one of the fleet in turn."""
        name = self._asked[position].device
        return self._named[name] if name else fleet[position % len(fleet)]

    def _is_apart(self, device: str) -> bool:
        known = self.loop.quarantines.get(device)
        return known is not None and known.lasts

    def _agree(self, asked: str, answer: str, reference: str) -> bool:
        return answer == reference or agree(self._task.judge, answer, reference)

    def consider(self, rows: list[tuple[int, Record]], queries: int) -> None:
        """Let rows come to the log, and do what follows.

        Args:
            rows: Pairs of batch and record.
            queries: How many have been asked by then.
        """
        self.queries = queries
        self.log += rows
        self.loop.take(rows)
        inputs = StepInputs(float(queries), self.loop.releases, quarantines=dict(self.loop.quarantines))
        carry_out(step(self.loop, inputs), self.do)

    def do(self, action: actions.Action) -> Any:
        """Do what the loop wants done, and say what came of it."""
        match action:
            case actions.Fit():
                rows = [row for _, row in self.log if row.caller not in action.without]
                fit = self._fitter.fit(teachable(rows, self.spent))
                return self._releases.assess(fit, action, self.loop.judging)
            case actions.ReadAgain():
                return [row for _, row in self.log]
            case actions.Predict():
                student = self.student(action.release)
                assert student is not None
                return student.answers([row.text for row in action.rows])
            case actions.Spend():
                self.spent.update(action.keys)
            case actions.AskReferenceAgain():
                return ""
            case actions.TryAgain():
                self._releases.tell(action, self.queries)
                return True
            case actions.Promote() | actions.ServeAgain():
                served = self._releases.serve(action, self.queries)
                student = self.student(served.number)
                if student is not None:
                    student.prepare([asked.text for asked in self._asked[self.queries : self.queries + READ_AHEAD]])
                return served
            case _:
                self._releases.tell(action, self.queries)
        return None


def query_id(seed: int, position: int) -> str:
    """The id of a query: under another seed other queries are set aside, and stand in other folds."""
    return f"{seed}-{position:06d}"


def device_seed(seed: int, device: int | str) -> bytes:
    """The secret of a device, by its number or its name, under a replay's seed."""
    return hashlib.sha256(f"{seed} {device}".encode()).digest()[:SEED_BYTES]
