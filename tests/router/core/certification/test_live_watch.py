import pytest

from router.core.certification.live_watch import LiveWatch
from router.core.domain.task import Task
from router.core.learning.training_rows import would_stay

TASK = Task("home", reference="big")


def same(asked, answer, reference):
    return answer == reference


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        ({"kept": True}, True),
        ({"kept": True, "degraded": True}, True),
        ({"local_score": 0.9, "threshold": 0.9}, True),  # the operator had it escalate
        ({"local_score": 0.8, "threshold": 0.9}, False),
        ({"local_score": None, "threshold": 0.9}, False),
        ({"local_score": 0.9, "threshold": None}, False),
        ({}, False),
    ],
)
def test_what_would_have_stayed_is_read_off_score_and_threshold(record, fields, stays):
    assert would_stay(record(1, **fields)) is stays


def wrong(record, position, release, **fields):
    values = {"local_answer": "music", "local_score": 0.9, "threshold": 0.5, "release": release}
    return record(position, **(values | fields))


def watch_of(live_watch):
    return live_watch.watch.freeze()


def test_what_was_asked_while_too_few_rows_came_is_not_watched(record):
    rows = [wrong(record, position, 3, kept=True) for position in range(4)]
    live_watch = LiveWatch.over(3, TASK, same)
    live_watch.observe(rows, blind=[(1.0, 3.0)])
    assert watch_of(live_watch).rows == 2


def test_a_release_is_watched_over_every_number_of_its_content(record):
    rows = [wrong(record, 1, 3, kept=True), wrong(record, 2, 4, kept=True), wrong(record, 3, 5, kept=True)]
    alone, both = LiveWatch.over(5, TASK, same), LiveWatch.over(5, TASK, same, frozenset({3}))
    alone.observe(rows)
    both.observe(rows)
    assert (watch_of(alone).rows, watch_of(both).rows) == (1, 2)


def test_a_release_that_is_observed_loses_what_it_would_have_lost(record):
    live_watch = LiveWatch.over(3, TASK, same)
    live_watch.observe(
        [wrong(record, 1, 3), wrong(record, 2, 3, local_score=0.4), wrong(record, 3, 3, local_answer="lights")]
    )
    assert (watch_of(live_watch).rows, watch_of(live_watch).losses) == (3, 1)


def test_rows_of_another_version_of_the_task_are_not_its_own(record):
    live_watch = LiveWatch.over(3, TASK, same)
    live_watch.observe([wrong(record, 1, 3, kept=True, task_version=2)])
    assert watch_of(live_watch).rows == 0


@pytest.mark.parametrize(
    "fields", [{"explored": False}, {"covered": False}, {"degraded": True}, {"is_reference": False}]
)
def test_only_rows_that_speak_of_the_promise_are_watched(record, fields):
    live_watch = LiveWatch.over(3, TASK, same)
    live_watch.observe([wrong(record, 1, 3, kept=True, **fields)])
    assert watch_of(live_watch).rows == 0


def test_rows_that_come_in_pieces_are_watched_as_if_they_came_together(record):
    live_watch, together = LiveWatch.over(3, TASK, same), LiveWatch.over(3, TASK, same)
    rows = [wrong(record, position, 3, kept=True) for position in range(3)]
    for piece in (rows[:1], rows[1:1], rows[1:]):
        live_watch.observe(piece)
    together.observe(rows)
    assert watch_of(live_watch) == watch_of(together)
    assert (watch_of(live_watch).rows, watch_of(live_watch).losses) == (3, 3)


def test_a_broken_promise_alarms_over_all_devices_together(record):
    live_watch = LiveWatch.over(3, TASK, same)
    rows = [wrong(record, position, 3, kept=True, caller=f"device-{position}") for position in range(20)]
    assert not live_watch.observe(rows[:1])
    assert live_watch.observe(rows[1:])
