import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.distillation import Source, is_set_aside
from router.judgement import Judgement
from router.task import Task, agree
from router.trial import (
    DEVICE_SHARE,
    LEAST_MET,
    LEAST_TRIED,
    SLACK_ROWS,
    Trial,
    certifying,
    champion_share,
)
from router.watch import CertifyingBet, attempt_alpha, is_certified

TASK = Task("home", reference="big")
ALPHA = attempt_alpha(0.95, 1)
FREEZE = 10


def judging(asked, answer, reference):
    return agree(TASK.judge, answer, reference)


class Parrot:
    """A student that knows a few words, and says how sure it is of each."""

    def __init__(self, **known):
        self.known = known
        self.asked = []

    def judge(self, query):
        self.asked.append(query.text)
        label, score = self.known.get(query.text, ("lights", 0.0))
        return Judgement(label, score, None)


GOOD = Parrot(lamp=("lights", 0.9), song=("lights", 0.9))


def trial(**fields):
    values = {
        "number": 1,
        "threshold": 0.5,
        "alpha": ALPHA,
        "rate": 1.0,
        "freeze": FREEZE,
        "patience": 10_000,
        "bet": CertifyingBet(0.02),
    }
    return Trial(**(values | fields))


def after(rows):
    return [(FREEZE + 1, row) for row in rows]


def test_every_drawn_row_after_the_freeze_may_certify(record):
    rows = [record(place) for place in range(20)]
    assert certifying(after(rows), trial(), set()) == rows


def test_before_the_freeze_only_what_was_set_aside_may_certify(record):
    rows = [record(place) for place in range(200)]
    chosen = certifying([(FREEZE, row) for row in rows], trial(), set())
    assert chosen == [row for row in rows if is_set_aside(row.caller, row.query_id)]
    assert 20 <= len(chosen) <= 60


def test_what_was_not_drawn_or_is_not_covered_never_certifies(record):
    rows = [
        record(0, explored=False),
        record(1, covered=False),
        record(2, degraded=True),
        record(3, is_reference=False),
        record(4, source=Source.DIRECT),
        record(5, source=Source.IMPORTED),
    ]
    assert certifying(after(rows), trial(), set()) == []


def test_a_row_is_looked_at_once(record):
    rows = [record(place) for place in range(5)]
    one = trial()
    one.look(rows[:2], GOOD, judging, champion=0)
    assert certifying(after(rows), one, spent={rows[2].key}) == rows[3:]


def test_rows_drawn_at_a_lower_rate_stay_out(record):
    rows = [record(0, exploration=0.05), record(1, exploration=0.25)]
    assert certifying(after(rows), trial(rate=0.25), set()) == [rows[1]]


def test_rows_drawn_at_a_higher_rate_are_thinned(record):
    rows = [record(place, exploration=1.0) for place in range(1000)]
    chosen = certifying(after(rows), trial(rate=0.25), set())
    assert 200 <= len(chosen) <= 300


def test_thinning_does_not_depend_on_what_a_row_says(record):
    ones = certifying(after([record(place, "lamp", "lights") for place in range(200)]), trial(rate=0.3), set())
    others = certifying(after([record(place, "song", "music") for place in range(200)]), trial(rate=0.3), set())
    assert [row.key for row in ones] == [row.key for row in others]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.integers(0, 3))
def test_no_device_gives_more_than_its_share(counts, seed):
    # a plain stand-in: the fixture that makes records does not go with hypothesis
    from router.distillation import Record

    rows = [
        Record(f"d{d}", f"q{n}", "big", "v1", "home", 1, 0.0, 0.0, "lamp", "lights", explored=True, exploration=1.0)
        for d, count in enumerate(counts)
        for n in range(count)
    ]
    random.Random(seed).shuffle(rows)
    chosen = Counter(row.caller for row in certifying(after(rows), trial(), set()))
    share = max(DEVICE_SHARE, 1 / len(counts))
    total = sum(chosen.values())
    assert total > 0
    assert all(count <= share * total + SLACK_ROWS + 1 for count in chosen.values())


def test_a_loss_is_a_kept_answer_that_differs(record):
    one = trial()
    student = Parrot(lamp=("lights", 0.9), song=("lights", 0.9), noon=("lights", 0.1))
    rows = [record(0, "lamp", "lights"), record(1, "song", "music"), record(2, "noon", "clock")]
    assert one.look(rows, student, judging, champion=0) == rows
    assert (one.bet.rows, one.bet.losses) == (3, 1)


def test_looking_ends_with_the_certificate(record):
    one = trial()
    rows = [record(place) for place in range(1000)]
    seen = one.look(rows, GOOD, judging, champion=0)
    assert one.is_certified
    assert len(seen) < 400
    assert is_certified(0.02, ALPHA, len(seen), 0)
    assert not is_certified(0.02, ALPHA, len(seen) - 1, 0)


def test_a_lossy_student_is_given_up(record):
    one = trial(patience=50)
    rows = [record(place, "song", "music") for place in range(100)]
    assert len(one.look(rows, GOOD, judging, champion=0)) == 50
    assert one.is_hopeless
    assert not one.is_certified


def test_a_challenger_must_keep_more_than_the_champion(record):
    def differing(kept_by_champion, text):
        one = trial()
        rows = [record(place, text, "lights", release=3, kept=kept_by_champion) for place in range(50)]
        one.look(rows, GOOD, judging, champion=3)
        return one

    assert differing(False, "lamp").keeps_more()
    assert not differing(True, "lamp").keeps_more()
    assert not differing(True, "unheard").keeps_more()


def test_rows_of_another_release_say_nothing_of_the_champion(record):
    one = trial()
    one.look([record(0, release=2, kept=True)], GOOD, judging, champion=3)
    assert one.differences == []
    assert one.keeps_more()


def test_the_champions_share_is_reckoned_by_propensity_once_it_has_met_enough_rows(record):
    escalated = [record(number, release=2) for number in range(100)]
    kept = [
        record(number, release=2, kept=True, propensity=0.25, source=Source.TAUGHT)
        for number in range(100, 100 + LEAST_MET)
    ]
    share = 4 * LEAST_MET / (4 * LEAST_MET + 100)
    assert champion_share(escalated + kept, 2, expected=0.1) == pytest.approx(share)
    assert champion_share(escalated, 2, expected=0.1) == 0.1
    assert champion_share(escalated, 0, expected=0.1) == 0.0


def test_a_challenger_that_loses_too_much_is_given_up_early():
    one = trial(patience=2000)
    for number in range(LEAST_TRIED):
        one.bet.update(number % 20 == 0)
    assert one.is_hopeless
