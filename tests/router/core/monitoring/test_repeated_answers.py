import random

from router.core.monitoring.repeated_answers import APART, RepeatedAnswers
from router.core.statistics.e_process import is_certified

PROMISE, ALPHA = 0.02, 0.05


def after(first, again=0, changed=0):
    seen = RepeatedAnswers(PROMISE, ALPHA)
    for _ in range(changed):
        seen.follow(APART, changed=True)
    for _ in range(first):
        seen.follow(APART, changed=False)
    for _ in range(again):
        seen.follow(1, changed=False)
    return seen


def test_it_takes_as_many_texts_as_a_certificate_without_a_loss():
    rows = next(rows for rows in range(1, 500) if is_certified(PROMISE, ALPHA, rows, 0))
    assert not after(rows - 1).may_answer
    assert after(rows).may_answer


def test_a_burst_of_one_text_however_long_proves_nothing():
    assert not after(first=1, again=5000).may_answer


def test_a_reference_that_contradicts_itself_at_the_promise_is_seldom_believed():
    believed = 0
    for life in range(200):
        dice, seen = random.Random(life), RepeatedAnswers(PROMISE, ALPHA)
        for _ in range(1000):
            seen.follow(APART, changed=dice.random() < PROMISE)
            if seen.may_answer:
                believed += 1
                break
    assert believed / 200 <= 2 * ALPHA


def test_a_reference_that_begins_to_contradict_itself_is_believed_no_more():
    seen, dice = after(first=400), random.Random(1)
    assert seen.may_answer
    for _ in range(600):
        seen.follow(1, changed=dice.random() < 0.2)
    assert not seen.may_answer
