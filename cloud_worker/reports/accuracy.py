"""Who is right on a task, from its gold labels and the log: for ``headrace-cloud competence`` and for ``status``.

Rules:
 * Accuracy stands apart from agreement: nothing here speaks of the promise of agreement.
 * Only labels given blind count, on rows of the task's present version and reference.
 * A row of which people say different things has no label; to certify, it counts as wrong.
 * Where a policy of the pool serves, what is served is its answer, on the rows since then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.pool.counterfactual import pool_answers, serving_of
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.state.gold_labels import Drawn, Gold, Key, Label
from cloud_worker.state.store import Store
from router.core.certification.device_shares import DEVICE_SHARE, SLACK_ROWS
from router.core.domain.record import Record, Tried
from router.core.domain.task import Task, agree
from router.core.evaluation.accuracy import LabelledRow, Worth, competence, most_of_each, prove, settle
from router.core.learning.training_rows import would_stay
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.intervals import Interval, share_interval

_COLUMNS = (
    *(
        "batch",
        "caller",
        "query_id",
        "teacher",
        "teacher_version",
        "task_version",
        "is_reference",
        "received_at",
        "answer",
    ),
    *("release", "local_answer", "local_score", "threshold", "kept", "degraded"),
)
_POOL_COLUMNS = ("text", "tried")
_SHARES = ("teacher", "student", "student_kept", "student_deferred", "teacher_deferred", "served")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that was handed out and is still in the log, with what people said of it blind."""

    batch: int
    record: Record
    drawn: Drawn
    said: tuple[str, ...]
    skips: int


def competence_of(
    store: Store, log: DistillationLog, task: Task, *, every_release: bool = False, least_gain: float = 0.0
) -> dict[str, Any]:
    """Who is right on ``task``, ready for JSON; ``docs/truth.md`` says what the keys mean.

    Args:
        store: The state of the fleet.
        log: The distillation log.
        task: As the operator sets it.
        every_release: Look at the students of all releases together, not only at the one that serves.
        least_gain: The gain that escalating must bring to pay, in (-1, 1).
    """
    gold = Gold(store.engine)
    drawn, labels = gold.drawn(task.name), gold.labels(task.name)
    champion = store.champion(task.name)
    rows = _rows(log, task, drawn, labels)
    serving, have_served = serving_of(PoolPolicies(store.engine), task)
    pool = pool_answers(serving, [(row.batch, row.record) for row in rows])
    labelled = {row.record.key: one for row in rows if (one := _labelled(row, task, _frontier(rows), pool)) is not None}
    here = [row for row in rows if every_release or row.drawn.release == champion]
    found = [labelled[row.record.key] for row in here if row.record.key in labelled]
    attempt = _served_before(store, task, champion) + have_served + 1
    promised = [row for row in rows if row.drawn.release == champion and row.record.key in pool]
    assurance = task.objective.assurance
    figures = competence(found, assurance, least_gain)
    teacher = competence(list(labelled.values()), assurance).teacher  # whoever the student was
    return {
        "task": task.name,
        "release": None if every_release else champion,
        "assurance": assurance,
        "labels": _counted(rows, drawn, labels, task),
        **{name: _share(getattr(figures, name)) for name in _SHARES},
        "teacher": _share(teacher),
        "deferred": _worth(figures.deferred),
        "kept": _worth(figures.kept),
        "by_score": [{"from": low, "to": high} | _worth(worth) for low, high, worth in figures.by_score],
        "outcome": figures.deferred.verdict.value,
        "teacher_is_worse": figures.teacher_is_worse,
        "promise": _promise(task, promised, labelled, attempt),
    }


def _rows(log: DistillationLog, task: Task, drawn: Sequence[Drawn], labels: Sequence[Label]) -> list[_Row]:
    """Handed-out rows of the present version and reference that the log still has."""
    if not drawn:
        return []
    said: dict[Key, list[Label]] = {}
    for label in labels:
        if label.blind:
            said.setdefault(label.key, []).append(label)
    columns = (*_COLUMNS, *_POOL_COLUMNS) if task.cheaper.teachers else _COLUMNS
    by_key = {
        record.key: (batch, record) for batch, record in _current(log.read(task.name, columns=columns), task, drawn)
    }
    rows = []
    for one in drawn:
        if one.key in by_key:
            given = said.get(one.key, [])
            words = tuple(label.label for label in given if not label.skipped)
            rows.append(_Row(*by_key[one.key], one, words, sum(label.skipped for label in given)))
    return rows


def _current(table: pa.Table, task: Task, drawn: Sequence[Drawn]) -> list[tuple[int, Record]]:
    """Pairs of batch and record."""
    mine = (pc.field("task_version") == task.version) & (pc.field("teacher") == task.reference)
    table = table.filter(mine & pc.field("is_reference"))
    if not len(table):
        return []
    latest = table["teacher_version"][pc.index(table["received_at"], pc.max(table["received_at"])).as_py()].as_py()
    wanted = pa.array([one.key[1] for one in drawn])
    table = table.filter((pc.field("teacher_version") == latest) & pc.field("query_id").isin(wanted))
    return [(row.pop("batch"), _record(row, task)) for row in table.to_pylist()]


def _record(row: dict[str, Any], task: Task) -> Record:
    changed = {"text": row.get("text", ""), "tried": tuple(Tried(**one) for one in row.get("tried") or ())}
    return Record(**{**row, **changed}, task=task.name, asked_at=row["received_at"])


def _frontier(rows: Sequence[_Row]) -> dict[int, float]:
    """How far the draw has come among the rows of each release."""
    far: dict[int, float] = {}
    for row in rows:
        far[row.drawn.release] = max(far.get(row.drawn.release, 0.0), row.drawn.rank)
    return far


def _chance(row: _Row, frontier: dict[int, float]) -> float:
    return min(row.drawn.exploration, frontier[row.drawn.release])


def _labelled(row: _Row, task: Task, frontier: dict[int, float], pool: Mapping[Key, str]) -> LabelledRow | None:
    label = settle(row.said, lambda one, other: agree(task.judge, one, other))
    if label is None:
        return None
    record, local = row.record, row.record.local_answer
    return LabelledRow(
        chance=_chance(row, frontier),
        rank=row.drawn.rank,
        teacher_right=agree(task.judge, record.answer, label),
        student_right=None if local is None else agree(task.judge, local, label),
        kept=would_stay(record),
        score=record.local_score,
        release=record.release,
        pool_right=agree(task.judge, pool[record.key], label) if record.key in pool else None,
        speaks=record.key in pool,
    )


def _counted(rows: Sequence[_Row], drawn: Sequence[Drawn], labels: Sequence[Label], task: Task) -> dict[str, Any]:
    def same(one: str, other: str) -> bool:
        return agree(task.judge, one, other)

    twice = [row.said for row in rows if len(row.said) > 1]
    agreed = sum(same(said[0], said[1]) for said in twice)
    return {
        "handed_out": len(drawn),
        "in_log": len(rows),
        "labelled": sum(settle(row.said, same) is not None for row in rows),
        "open": sum(not row.said and not row.skips for row in rows),
        "skipped": sum(not row.said and row.skips > 0 for row in rows),
        "disputed": sum(bool(row.said) and settle(row.said, same) is None for row in rows),
        "people": sorted({label.who for label in labels if label.blind}),
        "from_feedback": sum(not label.blind for label in labels),
        "annotators_agree": _share(share_interval(agreed, len(twice))),
    }


def _served_before(store: Store, task: Task, champion: int) -> int:
    """How many releases served before the one that serves."""
    return sum(row.state.has_served and 0 < row.number < champion for row in store.releases(task.name))


def _promise(
    task: Task, here: Sequence[_Row], labelled: Mapping[Key, LabelledRow], attempt: int
) -> dict[str, Any] | None:
    """How far the promised accuracy is proved on the rows of what serves; ``None`` where none is promised."""
    if task.objective.min_accuracy is None:
        return None
    frontier = _frontier(here)
    lowest = min((_chance(row, frontier) for row in here), default=1.0)
    here = sorted((row for row in here if row.drawn.rank <= lowest), key=lambda row: row.drawn.rank)
    most = most_of_each([row.record.caller for row in here], DEVICE_SHARE, SLACK_ROWS)
    counts: Counter[str] = Counter()
    drawn = []
    for row in here:
        counts[row.record.caller] += 1
        if counts[row.record.caller] <= most:
            drawn.append(labelled.get(row.record.key))
    wrong = sum(one is None or not one.served_right for one in drawn)
    proof = prove(task.objective.min_accuracy, attempt_alpha(task.objective.assurance, attempt), len(drawn), wrong)
    return asdict(proof) | {"attempt": attempt, "unlabelled": sum(one is None for one in drawn)}


def _share(interval: Interval) -> dict[str, Any] | None:
    return asdict(interval) if interval.rows else None


def _worth(worth: Worth) -> dict[str, Any]:
    words = {"outcome": worth.verdict.value, "gain": worth.gain, "rows": worth.pairs.rows} | asdict(worth.pairs)
    return words | {"least_gain": worth.least_gain, "more_labels": worth.more_labels}
