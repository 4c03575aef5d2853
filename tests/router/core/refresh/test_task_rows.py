import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from router.core.certification.live_watch import MOST_SINCE
from router.core.certification.trial import Trial
from router.core.domain.record import Record, Source, is_set_aside
from router.core.domain.task import Task
from router.core.learning.row_sums import RowSums
from router.core.learning.training_rows import calibrating, current, teachable, weights_of
from router.core.refresh import task_rows
from router.core.refresh.task_rows import TaskRows
from router.core.statistics.threshold_planning import Point

TASK = Task("home", reference="big")
POINTS = (Point(0.5, 0.8, 0.01),)


def a_log(seed, count=300):
    """Rows of four devices: drawn and undrawn, kept and escalated, of two versions of the reference and of the task."""
    draws, rows = random.Random(seed), []
    for position in range(count):
        kept = draws.random() < 0.5
        version = "v1" if position < count / 2 or (position < count * 0.8 and draws.random() < 0.02) else "v2"
        row = Record(
            f"d{position % 4}", f"q{seed}-{position}", "big", version, "home", 1, position, position, "lamp", "lights"
        )
        fields = {
            "kept": kept,
            "explored": kept or draws.random() < 0.4,
            "exploration": 0.4,
            "propensity": 0.4 if kept else 1.0,
            "source": Source.TAUGHT if kept else Source.ESCALATED,
            "local_answer": "lights",
            "release": position // 100,
            "task_version": 2 if draws.random() < 0.05 else 1,
            "covered": draws.random() < 0.95,
            "problem": "" if draws.random() < 0.95 else "odd",
        }
        rows.append((position // 10, replace(row, **fields)))
    return rows


def trial(freeze=0):
    return Trial(1, 0.02, 0.025, 0.3, freeze, 1000.0, POINTS)


def taken(rows, freeze=None, pieces=1):
    one = TaskRows(TASK)
    if freeze is not None:
        one.begin_trial(freeze)
    for start in range(0, len(rows), -(-len(rows) // pieces)):
        one.take(rows[start : start + -(-len(rows) // pieces)])
    return one


def chosen(one, freeze=0):
    return one.certifying(trial(freeze), {})


@given(st.integers(0, 50), st.integers(1, 300))
def test_rows_that_come_in_pieces_say_what_they_say_together(seed, pieces):
    rows = a_log(seed)
    one, other = taken(rows, freeze=5), taken(rows, freeze=5, pieces=pieces)
    assert (one.sums, one.taught, one.version, one.seen) == (other.sums, other.taught, other.version, other.seen)
    assert chosen(one, 5) == chosen(other, 5)
    assert list(one.drawn) == list(other.drawn)


@given(st.integers(0, 50))
def test_the_sums_are_those_over_the_current_rows(seed):
    rows = a_log(seed)
    one, records = taken(rows), [row for _, row in rows]
    now = current(records, TASK)
    assert one.taught == len(teachable(now, set()))
    assert one.sums == RowSums.of(now)
    assert abs(one.sums.queries - weights_of(calibrating(now)).sum()) < 1e-6


def test_without_a_trial_only_rows_that_are_set_aside_are_held():
    one = taken(a_log(1))
    assert chosen(one)
    assert all(is_set_aside(row.caller, row.query_id) for row in chosen(one))


def test_when_a_trial_ends_what_would_teach_the_next_student_is_held_no_longer():
    one = taken(a_log(1), freeze=0)
    assert not all(is_set_aside(row.caller, row.query_id) for row in chosen(one))
    one.end_trial()
    assert chosen(one) == chosen(taken(a_log(1)))


def test_a_row_that_was_looked_at_teaches_and_certifies_no_more():
    one = taken(a_log(1))
    before, rows = one.taught, chosen(one)
    one.spend(rows)
    assert one.taught == before + len([row for row in rows if not row.problem])
    assert not {row.key for row in chosen(one)} & {row.key for row in rows}


def test_what_was_spent_before_a_restart_counts_as_spent_after_it():
    live = taken(a_log(1))
    rows = chosen(live)
    live.spend(rows)
    again = TaskRows(TASK)
    again.take(a_log(1), {row.key for row in rows})
    assert (again.taught, chosen(again)) == (live.taught, chosen(live))


def test_a_long_log_is_held_by_its_latest_rows_alone(monkeypatch):
    monkeypatch.setattr(task_rows, "MOST_HELD", 50)
    rows = [(batch, replace(row, query_id=f"{batch}-{row.query_id}")) for batch in range(30) for _, row in a_log(batch)]
    one, version = taken([(batch, replace(row, teacher_version="v1")) for batch, row in rows]), "v1"
    assert one.version == version
    assert len(one.drawn) == MOST_SINCE
    assert 0 < len(chosen(one)) <= 50
