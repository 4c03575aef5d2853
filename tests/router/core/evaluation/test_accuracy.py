import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.evaluation.accuracy import (
    LabelledRow,
    Verdict,
    competence,
    most_of_each,
    prove,
    settle,
    thinned,
    weighted_share,
    worth,
)
from router.core.statistics.e_process import attempt_alpha

rows_of = st.lists(
    st.builds(
        LabelledRow,
        chance=st.just(0.05),
        rank=st.floats(0, 0.05),
        teacher_right=st.booleans(),
        student_right=st.one_of(st.none(), st.booleans()),
        kept=st.booleans(),
        score=st.one_of(st.none(), st.floats(0, 1)),
        release=st.integers(0, 3),
    ),
    max_size=40,
)


def row(teacher, student, *, kept=False, chance=0.05, rank=0.01, score=0.5):
    return LabelledRow(chance, rank, teacher, student, kept, score, 1)


def lives(gain, rows, seed, count=300):
    """Verdicts after each of ``rows`` pairs, in ``count`` lives in which the teacher gains ``gain`` on the student."""
    dice = random.Random(seed)
    for _ in range(count):
        pairs = []
        for _ in range(rows):
            u = dice.random()
            pairs.append(row(u < 0.2 + gain, 0.2 + gain <= u < 0.4 + gain))
        yield [worth(pairs[:end], 0.95).verdict for end in range(40, rows + 1, 40)]


@settings(max_examples=30)
@given(rows_of, st.randoms())
def test_the_order_of_the_labels_changes_no_figure(rows, dice):
    shuffled = list(rows)
    dice.shuffle(shuffled)
    one, other = competence(rows, 0.95), competence(shuffled, 0.95)
    assert (one.teacher, one.student, one.served, one.deferred, one.by_score) == (
        other.teacher,
        other.student,
        other.served,
        other.deferred,
        other.by_score,
    )


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 1.0)), min_size=1, max_size=50))
def test_an_interval_holds_its_share(rows):
    found = weighted_share([hit for hit, _ in rows], [1 / chance for _, chance in rows], 0.95)
    assert 0 <= found.low <= found.share + 1e-9
    assert found.share - 1e-9 <= found.high <= 1


@pytest.mark.parametrize("truth", [0.83, 0.97])
def test_intervals_of_rows_of_unequal_chance_hold_the_truth_as_often_as_they_say(truth):
    dice, held, count = random.Random(7), 0, 400
    for _ in range(count):
        hits, weights = [], []
        while len(hits) < 150:
            rate = dice.choice((0.05, 0.25))
            right = dice.random() < truth + (0.02 if rate == 0.05 else -0.02)  # queries of both times differ
            if dice.random() < rate:
                hits.append(right)
                weights.append(1 / rate)
        found = weighted_share(hits, weights, 0.95)
        held += found.low <= truth <= found.high
    assert held / count >= 0.93


def test_weights_undo_the_rates():
    """Half of the queries came while five times as many were drawn, and all of those are right."""
    hits, weights = [True] * 500 + [False] * 100, [1 / 0.25] * 500 + [1 / 0.05] * 100
    assert weighted_share(hits, weights, 0.95).share == pytest.approx(0.5)


def test_thinning_leaves_rows_of_equal_chance():
    dice = random.Random(3)
    rows = [row(True, True, chance=rate, rank=dice.random() * rate) for rate in (0.05, 0.25) for _ in range(2000)]
    left = thinned(rows)
    assert sum(one.chance == 0.05 for one in left) == 2000
    assert 300 < sum(one.chance == 0.25 for one in left) < 500


@pytest.mark.parametrize(("gain", "verdict"), [(0.2, Verdict.PAYS), (-0.2, Verdict.PAYS_NOT)])
def test_what_the_teacher_adds_is_found(gain, verdict):
    found = [life[-1] for life in lives(gain, 400, seed=5, count=40)]
    assert found.count(verdict) / len(found) > 0.95


def test_however_often_one_looks_nothing_is_found_where_nothing_is():
    wrong = sum(any(verdict is not Verdict.UNKNOWN for verdict in life) for life in lives(0.0, 400, seed=11, count=120))
    assert wrong / 120 <= 0.05


def test_a_teacher_that_is_worse_than_its_student_is_told():
    rows = [row(False, True)] * 40 + [row(True, True)] * 150 + [row(True, False)] * 5
    found = competence(rows, 0.95)
    assert found.teacher_is_worse
    assert found.deferred.verdict is Verdict.PAYS_NOT
    assert found.student.share > found.teacher.share


def test_a_gain_below_what_it_must_be_does_not_pay():
    rows = [row(True, False)] * 10 + [row(True, True)] * 990
    assert worth(rows, 0.95).verdict is Verdict.PAYS
    assert worth(rows, 0.95, least_gain=0.05).verdict is Verdict.PAYS_NOT


def test_so_many_more_labels_as_are_told_settle_it():
    rows = [row(True, False)] * 6 + [row(False, True)] * 1 + [row(True, True)] * 20
    found = worth(rows, 0.95)
    assert found.verdict is Verdict.UNKNOWN
    times = 1 + found.more_labels / len(rows)
    assert 1 < times < 20
    assert worth(rows * (round(times) + 1), 0.95).verdict is Verdict.PAYS


def test_what_is_served_is_the_students_where_it_stays():
    assert row(True, False, kept=True).served_right is False
    assert row(True, False, kept=False).served_right is True


def test_accuracy_is_proved_no_oftener_than_it_may_be():
    dice, proved, alpha = random.Random(2), 0, attempt_alpha(0.95, 1)
    for _ in range(200):
        wrong = 0
        for rows in range(1, 401):
            wrong += dice.random() < 0.1
            if rows % 10 == 0 and prove(0.9, alpha, rows, wrong).certified:
                proved += 1
                break
    assert proved / 200 <= 0.05


def test_a_proof_says_how_many_labels_are_missing():
    some = prove(0.9, 0.025, 20, 0)
    assert not some.certified
    assert prove(0.9, 0.025, 20 + some.more_labels + 30, 0).certified
    assert prove(0.9, 0.025, 100, 30).more_labels is None


def test_people_who_say_different_things_settle_nothing():
    def same(one, other):
        return one == other

    assert settle(["a"], same) == "a"
    assert settle(["a", "b"], same) is None
    assert settle(["b", "a", "b"], same) == "b"
    assert settle([], same) is None


@settings(max_examples=50)
@given(st.lists(st.sampled_from("abcdefgh"), max_size=80))
def test_no_caller_gives_more_than_its_share(callers):
    most = most_of_each(callers, 0.05, 5)
    counts = [min(callers.count(name), most) for name in set(callers)]
    allowed = max(0.05, 1 / len(counts)) if counts else 1.0
    assert all(count <= allowed * sum(counts) + 5 for count in counts)


def test_what_is_served_is_the_pools_answer_where_the_student_gives_way():
    given_way, kept = replace(row(True, True), pool_right=False), replace(row(True, True, kept=True), pool_right=False)
    assert not given_way.served_right
    assert kept.served_right
    assert competence([given_way, kept], 0.95).served.share == 0.5


def test_a_row_that_does_not_speak_of_what_serves_is_in_no_figure_of_it():
    silent = replace(row(True, True), speaks=False)
    found = competence([silent, row(False, True)], 0.95)
    assert (found.served.rows, found.served.share) == (1, 0.0)
    assert found.teacher.rows == 2
