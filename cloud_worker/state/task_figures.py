"""What the refresher saw when it looked last: for ``status`` and for metrics, which judge nothing themselves.

Rules:
 * One set of figures a task, of its present version; the latest replaces the one before.
 * Nothing is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import Engine, delete, insert, select

from cloud_worker.state.columns import read_as
from cloud_worker.state.schema import FIGURES
from router.core.monitoring.drift import Comparison


@dataclass(frozen=True, slots=True)
class Watched:
    """What the watch saw of the release that serves, over all numbers under which its content and threshold served.

    Attributes:
        release: Its number.
        rows: Explored ones observed.
        losses: Of them, those that it lost, or would have lost while the operator had everything escalated.
        evidence: That the promise is broken: the bet's logarithm as a share of that of an alarm, at least 0.
        suspected_since: Unix time in seconds since when everything is explored, 0 while nothing is suspected.
        suspected_rows: How many rows without suspicion end that; 0 while nothing is suspected.
    """

    release: int
    rows: int = 0
    losses: int = 0
    evidence: float = 0.0
    suspected_since: float = 0.0
    suspected_rows: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A challenger that waits for its certificate, and the threshold that it is after.

    Attributes:
        release: Its number.
        rows: Explored ones observed.
        losses: Of them, those lost at the threshold.
        expected_rows: Drawn ones that the certificate should take, at the loss that is expected; 0 where none is.
        rate: Lowest exploration rate whose rows count, in [0, 1].
        patience: Most rows that it may observe, as many as they are worth of drawn ones.
        weight: How many drawn rows those observed are worth.
    """

    release: int
    rows: int
    losses: int
    expected_rows: float
    rate: float
    patience: int
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What would have stayed on the devices while the operator observes.

    Attributes:
        release: That would have served.
        since: Unix time in seconds.
        rows: Covered queries, all answered by the reference.
        kept: Of them, those whose local answer would have stayed.
        disagreed: Of these, those where the reference says something else.
        disagreed_by_devices: Their share of the rows where no device counts for more than twice the median one.
        usd: What the reference's answers to those kept have cost.
        seconds: What they have taken it.
        tokens: What it read and wrote for them.
    """

    release: int
    since: float
    rows: int = 0
    kept: int = 0
    disagreed: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    disagreed_by_devices: float = 0.0


@dataclass(frozen=True, slots=True)
class Drifted:
    """The last look at the inputs: of which release, over which windows, and what was compared."""

    release: int
    windows: int
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything of one task.

    Attributes:
        at: Unix time in seconds.
        taught: Rows that may teach.
        needed: Rows that start the next fit; 0 where none starts one.
        hour_rows: Explored rows that came in the last hour.
        hour_planned: Explored rows that its queries should have given, those of the last two minutes left out.
        blind: Whether that is too few to see anything.
        watched: Of the release that serves, ``None`` without a student.
        waiting: Of the challenger, ``None`` without one.
        observed: While the operator observes, else ``None``.
        drifted: Of the inputs, ``None`` before the first window.
    """

    at: float
    taught: int = 0
    needed: int = 0
    hour_rows: int = 0
    hour_planned: float = 0.0
    blind: bool = False
    watched: Watched | None = None
    waiting: Waiting | None = None
    observed: Observed | None = None
    drifted: Drifted | None = None


_AS_JSON = TypeAdapter(Figures)


class Board:
    """The figures of all tasks, in the database of the fleet's state."""

    def __init__(self, engine: Engine) -> None:
        """Keep them in the database of ``engine``."""
        self._engine = engine

    def post(self, task: str, version: int, figures: Figures) -> None:
        """Put a task's figures in place of the former ones."""
        said = _AS_JSON.dump_json(figures).decode()
        with self._engine.begin() as connection:
            connection.execute(delete(FIGURES).where(FIGURES.c.task == task))
            connection.execute(insert(FIGURES).values(task=task, version=version, figures=said))

    def read(self, task: str, version: int) -> Figures | None:
        """A task's figures, ``None`` before the first look at this version of it."""
        query = select(FIGURES.c.figures).where(FIGURES.c.task == task, FIGURES.c.version == version)
        with self._engine.connect() as connection:
            said = connection.execute(query).scalar()
        return read_as(_AS_JSON, said, f"the figures of task {task}")
