import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.certification.certifying_rows import certifying
from router.core.certification.class_gate import DOUBT, LEAST_ROWS, MOST_OF_CLASS, ClassFigures, figures_of, spared
from router.core.certification.observations import Observation
from router.core.certification.trial import Trial
from router.core.domain.prediction import Prediction
from router.core.domain.record import Source
from router.core.domain.task import Kind
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.threshold_planning import NEVER, Point


def observations(label, count, *, wrong=0, score=0.9):
    return [Observation(score, position < wrong, 0, False, label=label) for position in range(count)]


def trial(rows, **fields):
    values = {"allowance": 0.02, "alpha": attempt_alpha(0.95, 1), "rate": 1.0, "freeze": 0, "patience": 9000}
    return Trial(**({"number": 1, "points": (Point(0.5, 0.9, 0.002),), "observations": rows} | values | fields))


def test_each_class_says_its_rows_what_is_kept_and_what_is_lost():
    rows = (
        observations("music", 3, wrong=1)
        + observations("lights", 5)
        + observations("music", 2, wrong=2, score=0.1)
        + observations("", 7)
    )
    assert figures_of(rows, 0.5) == (ClassFigures("lights", 5, 5, 0), ClassFigures("music", 5, 3, 1))


def test_a_class_that_loses_far_more_than_is_allowed_makes_the_threshold_stricter():
    rows = observations("lights", 2500) + observations("music", 60) + observations("music", 60, wrong=20, score=0.5)
    one = trial(rows)
    assert one.loosest() == 0.5
    assert one.certified() == 0.9
    assert one.certificate(1).losses == 0
    assert one.evidence(0.9) >= one.evidence(0.5)


def test_a_class_that_loses_at_every_score_lets_no_threshold_serve():
    one = trial(observations("lights", 2500) + observations("music", 120, wrong=20))
    assert (one.loosest(), one.certified()) == (0.9, NEVER)


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [(LEAST_ROWS - 1, 20), (LEAST_ROWS, 6), (LEAST_ROWS, 8)],
)
def test_a_class_of_few_rows_or_of_a_loss_that_chance_may_give_does_not_gate(rows, wrong):
    found = observations("lights", 2500) + observations("music", rows, wrong=wrong)
    assert spared(found, 0.9, 0.02) == 0.9


def test_where_no_disagreement_is_promised_no_class_gates():
    assert spared(observations("music", 120, wrong=100), 0.9, 0.99) == 0.9


TABLES = st.lists(
    st.tuples(st.integers(0, 20), st.booleans(), st.sampled_from(["a", "b", ""])), min_size=1, max_size=40
)


@given(table=TABLES, position=st.integers(0, 20), times=st.sampled_from([1, 10]))
def test_the_gate_never_makes_a_threshold_looser(table, position, times):
    rows = [
        Observation(score / 20, wrong, 0, False, label=label) for score, wrong, label in table for _ in range(times)
    ]
    threshold = spared(rows, position / 20, 0.02)
    assert threshold >= position / 20
    assert spared(rows, threshold, 0.02) == threshold


def test_a_gate_where_no_class_loses_too_much_comes_seldom():
    random, false = np.random.default_rng(0), 0
    for _ in range(300):
        rows = [
            Observation(0.9, bool(one), 0, False, label=f"{n % 5}") for n, one in enumerate(random.random(600) < 0.06)
        ]
        false += spared(rows, 0.9, 0.06 / MOST_OF_CLASS) > 0.9
    assert false / 300 <= DOUBT + 2 * (DOUBT / 300) ** 0.5


@pytest.mark.parametrize(("kind", "labels"), [(Kind.LABEL, {"lights", ""}), (Kind.TEXT, {""})])
def test_only_drawn_rows_tell_of_a_class_and_only_where_answers_are_labels(record, kind, labels):
    class Sure:
        def predict(self, query):
            return Prediction("lights", 0.9, None)

    there = {"release": 1, "local_answer": "lights", "exploration": 0.5, "source": Source.ESCALATED}
    rows = [record(position, explored=position % 2 == 0, **there) for position in range(400)]
    one = trial([], rate=0.25, kind=kind)
    chosen = certifying([(1, row) for row in rows], one, set())
    seen = one.observe(chosen, Sure(), lambda asked, answer, reference: answer == reference)
    assert {observation.label for observation in one.observations} == labels
    assert not any(
        observation.label for row, observation in zip(seen, one.observations, strict=True) if not row.explored
    )
    if kind is Kind.LABEL:
        assert sum(bool(observation.label) for observation in one.observations) == 200
