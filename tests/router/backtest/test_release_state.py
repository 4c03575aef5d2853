import pytest

from router.backtest.release_state import Release, Standing
from router.core.certification.live_watch import MOST_FORMER
from router.core.certification.refresh_schedule import Champion
from router.core.domain.prediction import Judgement
from router.core.domain.task import Objective, Task, agree

TASK = Task("home", reference="big", objective=Objective(0.05))


class Says:
    """A student that gives every text one answer."""

    def __init__(self, answer):
        self.answer = answer

    def prepare(self, texts):
        pass

    def judge(self, query):
        return Judgement(self.answer, 0.9)


def judging(asked, answer, reference):
    return agree(TASK.judge, answer, reference)


def release(number, answer="lights", threshold=0.5, **fields):
    values = {
        "content": number,
        "kept": 0.5,
        "rows": 300,
        "weight": 300.0,
        "losses": 1,
        "attempt": 1,
        "last_asked_at": 0.0,
    }
    return Release(number=number, threshold=threshold, student=Says(answer), **(values | fields))


def standing(*former):
    return Standing(1.0, release=former[-1], former=list(former))


@pytest.fixture
def rows(record):
    return [record(place, answer="lights") for place in range(1, 200)]


def test_what_has_alarmed_is_no_champion():
    one = standing(release(1))
    assert one.champion == Champion(1, 0.5)
    one.alarmed = True
    assert one.champion == Champion()


def test_a_former_release_that_the_rows_do_not_speak_against_serves_again(rows):
    good, bad = release(1), release(2, "music", alarmed=True)
    assert standing(good, bad).successor(rows, TASK, judging) is good


def test_a_former_release_that_the_rows_speak_against_does_not(rows):
    assert standing(release(1, "music"), release(2, "music", alarmed=True)).successor(rows, TASK, judging) is None


def test_the_latest_of_several_serves(rows):
    first, second, third = release(1), release(2), release(3, "music", alarmed=True)
    assert standing(first, second, third).successor(rows, TASK, judging) is second


def test_a_looser_threshold_of_what_broke_its_promise_never_serves_again(rows):
    looser, broke = release(1, threshold=0.4), release(2, content=1, threshold=0.6, alarmed=True)
    stricter = release(3, content=1, threshold=0.8)
    champion = release(4, "music", alarmed=True)
    assert standing(looser, broke, champion).successor(rows, TASK, judging) is None
    assert standing(stricter, looser, broke, champion).successor(rows, TASK, judging) is stricter


def test_a_release_under_two_numbers_is_one(rows):
    one, again = release(1), release(2, content=1)
    assert standing(one, again).successor(rows, TASK, judging) is None
    assert standing(one, again).same_as(again) == {1, 2}


def test_only_the_latest_few_are_tried(rows):
    bad = [release(number, "music") for number in range(2, 2 + MOST_FORMER)]
    champion = release(9, "clock", alarmed=True)
    assert standing(release(1), *bad, champion).successor(rows, TASK, judging) is None
    assert standing(release(1), *bad[1:], champion).successor(rows, TASK, judging).number == 1
