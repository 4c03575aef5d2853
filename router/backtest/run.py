"""A log and a plan -> what Headrace would have done under each promise.

Rules:
 * Every promise is replayed from nothing, on the same queries and with the same draws; equal fits are made once.
 * With several seeds the figures are the first seed's, and beside them stands how far the seeds spread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from router.backtest.history import History, Served
from router.backtest.labels import Answers, answers_of
from router.backtest.logs.reader import Log
from router.backtest.metrics import disagreement, figures, labelled, net_saving, quarters, release_intervals, share
from router.backtest.replay import Replay
from router.backtest.students.shared_fits import SharedFits
from router.backtest.students.student import Fitter
from router.core.certification.refresh_schedule import Pace
from router.core.domain.task import Judge, Objective, Task, agree
from router.core.errors import ConfigError, DataError
from router.core.statistics.detection_delay import describe_delays
from router.core.statistics.intervals import Interval, share_interval

LEAST_QUERIES = 100
TASK, REFERENCE = "backtest", "log"
DEFAULT_CACHE = Path("~/.cache/headrace")
SPREAD = ("local_share", "local_share_last_quarter", "cloud_share", "disagreement")

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay.

    Attributes:
        promises: Largest shares of answers that may differ, each in (0, 1).
        assurance: Of each promise, in (0, 1).
        judge: Tells whether two answers are the same.
        student: ``hashed`` or ``encoder``.
        encoder: Folder of the encoder.
        cache: Folder where its vectors are kept; ``None`` for one of the user's own.
        devices: How many ask, in turn.
        seed: Of the draws.
        repeat: How many seeds, from ``seed`` on.
        memory: Answers that each device remembers at most; 0 for none.
    """

    promises: tuple[float, ...] = (0.02,)
    assurance: float = 0.95
    judge: Judge = Judge.LABEL
    student: str = "hashed"
    encoder: Path | None = None
    cache: Path | None = None
    devices: int = 1
    seed: int = 0
    repeat: int = 1
    memory: int = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """One promise's outcome: the history of the first seed, the demo's figures of it, and all else that is known."""

    promise: float
    history: History
    figures: dict[str, Any]
    more: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The demo's keys, and under ``backtest`` what only a replay has."""
        return {**self.figures, "backtest": self.more}


def run(log: Log, plan: Plan, progress: Progress = lambda stage, share: None) -> list[Result]:
    """Replay a log under every promise of a plan.

    Args:
        log: The user's.
        plan: What to replay.
        progress: Told the stage, and its share in [0, 1].

    Raises:
        ConfigError: The plan can't be carried out.
        DataError: The log is too short, or can't teach anything.
        ModelError: The encoder can't be used.
    """
    if len(log.rows) < LEAST_QUERIES:
        problem = f"has {len(log.rows)} queries; a replay needs {LEAST_QUERIES}, and some thousands to tell anything"
        raise DataError(str(log.path), 0, problem)
    answers = answers_of(log, plan.judge)
    fitter = _fitter(log, plan, progress)
    tasks = [_task(plan, promise) for promise in plan.promises]
    histories: list[list[History]] = [[] for _ in tasks]
    seconds = [0.0 for _ in tasks]
    for again in range(plan.repeat):
        shared = SharedFits(fitter)
        for number, task in enumerate(tasks):
            began = time.monotonic()
            replay = Replay(log.rows, answers.labels, task, shared, pace_of(len(log.rows)), plan.memory)
            before = again * len(tasks) + number
            with one_thread():
                told = _part(progress, plan, before, len(log.rows))
                histories[number].append(replay.run(plan.devices, plan.seed + again, told))
            seconds[number] += time.monotonic() - began
    return [_result(log, plan, answers, *one) for one in zip(tasks, histories, seconds, strict=True)]


def one_thread() -> threadpool_limits:
    """One thread for linear algebra, from now on or for a ``with`` block: small steps lose by waiting for threads.

    A limit holds for the libraries that are loaded by then, and scipy brings its own: it is loaded first. Where it came
    after the limit, two threads that wait for each other took four fifths of a replay's time.
    """
    import scipy.optimize  # noqa: F401 - what calibrates loads it later: half a second of CPU

    return threadpool_limits(1)


def _task(plan: Plan, promise: float) -> Task:
    objective = Objective(promise, plan.assurance)
    return Task(TASK, REFERENCE, judge=plan.judge, student=plan.student, objective=objective)


def pace_of(queries: int) -> Pace:
    """How often students are fitted: a short log gets its first one sooner."""
    return Pace(min_rows=max(10, min(Pace().min_rows, queries // 3)))


def _part(progress: Progress, plan: Plan, before: int, queries: int) -> Callable[[int], None]:
    """What one of several replays tells of its progress: how many queries are done, after ``before`` other replays."""
    parts = len(plan.promises) * plan.repeat
    return lambda done: progress("replaying", (before + done / queries) / parts)


def _fitter(log: Log, plan: Plan, progress: Progress) -> Fitter:
    texts = [row.text for row in log.rows]
    if plan.student == "hashed":
        from router.backtest.students.ngram_student import HashedFitter  # scikit-learn: a second

        return HashedFitter(texts)
    if plan.encoder is None:
        raise ConfigError(
            "--encoder",
            "",
            "name the folder of --student encoder (model.onnx and tokenizer.json), or minilm",
        )
    from router.backtest.students.encoder_student import EncoderFitter

    return EncoderFitter(plan.encoder, _cache(plan), texts, lambda share: progress("reading texts", share))


def _cache(plan: Plan) -> Path:
    try:
        return (plan.cache or DEFAULT_CACHE).expanduser()
    except RuntimeError:  # a user whom the system does not know
        raise ConfigError("--cache", "", "has to be named, since this user has no home folder") from None


def _result(log: Log, plan: Plan, answers: Answers, task: Task, histories: Sequence[History], seconds: float) -> Result:
    history = histories[0]
    teacher = _teacher_right(log, plan.judge)
    found = figures(history, devices=plan.devices, seconds=seconds, teacher_right=teacher.share if teacher else None)
    objective = task.objective
    more = {
        "log": str(log.path),
        "read_as": log.shape,
        "columns": asdict(log.columns),
        "skipped_rows": log.skipped,
        "promise": objective.max_disagreement,
        "assurance": objective.assurance,
        "student": plan.student,
        "judge": plan.judge.value,
        "seed": plan.seed,
        "memory": plan.memory,
        "net_saving": net_saving(history.served),
        "distinct_answers": answers.distinct,
        "learnable_share": round(answers.learnable, 6),
        "quarters": quarters(history.served),
        "disagreement_interval": _ends(_counted(history.served, "agrees", negated=True)),
        "release_intervals": {
            str(number): _ends(interval) for number, interval in release_intervals(history.served, 0.95).items()
        },
        "labelled_rows": teacher.rows if teacher else 0,
        "accuracy_interval": _ends(_counted(labelled(history.served), "right")) if teacher else None,
        "teacher_accuracy_interval": _ends(teacher) if teacher else None,
        "cost": _cost(log, history) if log.columns.cost else None,
        "alarms": history.alarms,
        "events": [asdict(event) for event in history.events],
        "watch": describe_delays(objective.max_disagreement, 1 - objective.assurance, task.exploration.floor),
        "spread": _spread(histories) if len(histories) > 1 else None,
    }
    return Result(objective.max_disagreement, history, found, more)


def _teacher_right(log: Log, judge: Judge) -> Interval | None:
    """How often the large model's answer is the log's label, where that is known; ``None`` where it never is."""
    right = [agree(judge, row.answer, row.label) for row in log.rows if row.label is not None]
    return share_interval(sum(right), len(right)) if right else None


def _counted(rows: Sequence[Served], name: str, *, negated: bool = False) -> Interval:
    hits = sum(bool(getattr(row, name)) != negated for row in rows)
    return share_interval(hits, len(rows))


def _ends(interval: Interval) -> list[float]:
    return [round(interval.low, 6), round(interval.high, 6)]


def _cost(log: Log, history: History) -> dict[str, float]:
    """What all answers cost, and what those would have that the large model still gives."""
    start = len(log.rows) * 3 // 4
    costs = [row.cost for row in log.rows]
    paid = [cost if served.cloud else 0.0 for cost, served in zip(costs, history.served, strict=True)]
    sums = {"all": costs, "paid": paid, "all_last_quarter": costs[start:], "paid_last_quarter": paid[start:]}
    return {name: round(sum(values), 6) for name, values in sums.items()}


def _spread(histories: Sequence[History]) -> dict[str, list[float]]:
    """The least and the largest of each figure over the seeds."""
    values: dict[str, list[float]] = {name: [] for name in SPREAD}
    for history in histories:
        rows = history.served
        values["local_share"].append(share(rows, "local"))
        values["local_share_last_quarter"].append(share(rows[len(rows) * 3 // 4 :], "local"))
        values["cloud_share"].append(share(rows, "cloud"))
        values["disagreement"].append(disagreement(rows))
    return {name: [min(found), max(found)] for name, found in values.items()}
