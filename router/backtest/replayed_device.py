"""A device of a replay: it draws, lets the student judge, decides, remembers; and what the log gets of a query.

Rules:
 * What the reference was asked for comes to the log and to the memory, nothing else.
 * What the memory gave and was drawn is a kept row without a score, as of a real device.
"""

from __future__ import annotations

from dataclasses import dataclass

from router.backtest.replayed_releases import policy_at
from router.backtest.students.student import ReplayedStudent
from router.core.domain.prediction import Prediction, score_of
from router.core.domain.query import Answer, Provenance, Query, Tier
from router.core.domain.record import Record, Source
from router.core.domain.task import Mode, Task
from router.core.monitoring.remembered_answers import MemoryBounds, RememberedAnswers, may_stand_in
from router.core.policy.deferral import Action, decide
from router.core.policy.exploration import is_explored

VERSION = "log"  # of the reference


@dataclass(frozen=True, slots=True)
class OrdersInForce:
    """What is in place when a query comes.

    Attributes:
        release: Number of what serves, 0 for none.
        student: Its student.
        threshold: Least score kept; ``None`` where nothing is.
        exploration: Rate in force, in [0, 1].
        mode: Whether the policy decides, or everything escalates.
    """

    release: int
    student: ReplayedStudent | None
    threshold: float | None
    exploration: float
    mode: Mode


@dataclass(frozen=True, slots=True)
class Given:
    """What a device did with a query.

    Attributes:
        answer: What its user got, ``None`` for the reference's.
        prediction: What its student said.
        explored: Drawn for the reference.
        remembered: The answer came from memory.
    """

    answer: str | None
    prediction: Prediction | None
    explored: bool
    remembered: bool = False

    @property
    def kept(self) -> bool:
        """Whether the device answered."""
        return self.answer is not None

    @property
    def is_asked(self) -> bool:
        """Whether the reference was asked, for any reason."""
        return self.explored or not self.kept


class ReplayedDevice:
    """One device of a replayed fleet."""

    def __init__(self, name: str, seed: bytes, task: Task, memory: MemoryBounds) -> None:
        """Remember nothing yet.

        Args:
            name: Its own.
            seed: Of its draws.
            task: That it serves.
            memory: How much it remembers.
        """
        self.name = name
        self._seed = seed
        self._task = task
        self.memory = RememberedAnswers(memory)

    def answer(self, query: Query, orders: OrdersInForce, now: float) -> Given:
        """Answer one query, asked at ``now`` in seconds."""
        explored = is_explored(self._seed, query.id, orders.exploration)
        said = None if orders.student is None else orders.student.predict(query)
        decision = decide(
            policy_at(orders.threshold),
            score_of(said),
            mode=orders.mode,
            cut=said is not None and said.cut,
        )
        if decision.action is Action.KEEP:
            assert said is not None
            return Given(said.answer, said, explored)
        if orders.mode is Mode.SERVE and may_stand_in(decision):
            known = self.memory.recall(query, self._task, orders.exploration, now)
            if known is not None:
                return Given(known.text, said, explored, remembered=True)
        return Given(None, said, explored)

    def taught(self, query: Query, given: Given, orders: OrdersInForce, reference: str, now: float) -> Record:
        """The reference answered: what the log gets of it, and the memory too."""
        source = Provenance(Tier.CLUSTER, self._task.reference, VERSION, logged=True)
        self.memory.learn(query, self._task, Answer(query.id, reference, source), now)
        said = Prediction(given.answer, None) if given.remembered and given.answer is not None else given.prediction
        return Record(
            caller=self.name,
            query_id=query.id,
            teacher=self._task.reference,
            teacher_version=VERSION,
            task=self._task.name,
            task_version=self._task.version,
            asked_at=now,
            received_at=now,
            text=query.text,
            answer=reference,
            source=Source.TAUGHT if given.kept else Source.ESCALATED,
            release=orders.release,
            local_answer=said.answer if said else None,
            local_score=said.score if said else None,
            kept=given.kept,
            explored=given.explored,
            propensity=orders.exploration if given.kept else 1.0,
            exploration=orders.exploration,
            threshold=orders.threshold,
        )
