import numpy as np
import pytest

from router.core.domain.record import Record, Source
from router.core.monitoring.drift import CHANCE, LEAST_ROWS, WINDOW_ROWS, Sample, at_one_rate, compare


def sample(generator, rows, *, shift=0.0, kept=0.8, classes=60, zipf=1.1):
    weights = 1 / np.arange(1, classes + 1) ** zipf
    answers = generator.choice(classes, rows, p=weights / weights.sum())
    near = 0.9 - answers / (2 * classes) - shift  # repeated commands are equally near: many ties
    return Sample(
        tuple(f"c{answer}" for answer in answers), tuple(generator.random(rows) < kept), tuple(near.astype(float))
    )


def test_looks_at_unchanged_queries_warn_no_more_often_than_stated():
    generator, observations = np.random.default_rng(7), 600
    warned = 0
    for _ in range(observations):
        before, now = sample(generator, 400), sample(generator, WINDOW_ROWS)
        warned += any(one.warns for one in compare(before, now))
    assert warned / observations <= CHANCE + 2 * (CHANCE / observations) ** 0.5


@pytest.mark.parametrize(
    ("what", "change"),
    [("distance", {"shift": 0.15}), ("escalation", {"kept": 0.55}), ("classes", {"zipf": 0.2})],
)
def test_each_comparison_sees_its_own_change(what, change):
    generator = np.random.default_rng(3)
    seen = 0
    for _ in range(40):
        found = compare(sample(generator, 400), sample(generator, WINDOW_ROWS, **change))
        seen += any(one.what == what and one.warns for one in found)
    assert seen >= 36


def test_new_classes_are_seen():
    generator = np.random.default_rng(4)
    now = sample(generator, WINDOW_ROWS)
    other = Sample(tuple("new" if position % 4 == 0 else answer for position, answer in enumerate(now.answers)))
    (found,) = compare(Sample(sample(generator, 400).answers), other)
    assert (found.what, found.warns) == ("classes", True)


def test_texts_that_never_repeat_tell_nothing_of_their_mix():
    before, now = (Sample(tuple(f"{time} {position}" for position in range(300))) for time in ("a", "b"))
    (found,) = compare(before, now)
    assert not found.warns


def test_too_few_rows_are_not_compared():
    few = Sample(("a",) * (LEAST_ROWS - 1), (True,) * (LEAST_ROWS - 1))
    many = Sample(("a",) * 200, (True,) * 200)
    assert compare(few, many) == compare(many, few) == ()


def row(position, rate, **fields):
    values = {
        "caller": "kitchen",
        "query_id": f"q{position}",
        "teacher": "big",
        "teacher_version": "v",
        "task": "home",
        "task_version": 1,
        "asked_at": 0.0,
        "received_at": 0.0,
        "text": "t",
        "answer": "a",
        "source": Source.TAUGHT,
        "explored": True,
        "exploration": rate,
    }
    return Record(**(values | fields))


def test_rows_are_thinned_to_one_rate_and_those_of_a_lower_one_stay_out():
    rows = [row(position, 0.25 if position % 2 else 0.05) for position in range(4000)]
    kept = at_one_rate(rows, 0.05)
    assert sum(one.exploration == 0.05 for one in kept) == 2000
    assert 320 <= sum(one.exploration == 0.25 for one in kept) <= 480
    assert at_one_rate(rows, 0.25) == [one for one in rows if one.exploration == 0.25]
    assert at_one_rate(rows, 0.0) == []


def test_rows_that_were_not_drawn_are_left_out():
    rows = [row(0, 0.05, explored=False), row(1, 0.05, degraded=True), row(2, 0.05, source=Source.DIRECT)]
    assert at_one_rate(rows, 0.05) == []
