from edge_agent.answering.student_runner import FAST_SECONDS, SHORT_TEXT, Pace
from router.core.domain.prediction import Judgement
from router.core.domain.query import Message, Query


class Timed:
    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def judge(self, query):
        self.now += self.seconds
        return Judgement("lights", 0.9)


def pace_of(student, runs):
    pace = Pace(lambda: student.now)
    for _ in range(runs):
        pace.judged(student, Query("1", "home", "light"))
    return pace


def test_a_student_is_fast_once_it_has_been_seen_to_be():
    student, query = Timed(FAST_SECONDS / 4), Query("1", "home", "light")
    assert not Pace(lambda: student.now).is_fast(student, query)
    assert pace_of(student, 1).is_fast(student, query)
    assert not pace_of(Timed(4 * FAST_SECONDS), 1).is_fast(student, query)


def test_long_texts_and_chats_leave_the_event_loop_to_others_however_fast_the_student_is():
    student = Timed(FAST_SECONDS / 4)
    pace = pace_of(student, 1)
    assert not pace.is_fast(student, Query("1", "home", "l" * (SHORT_TEXT + 1)))
    assert not pace.is_fast(student, Query("1", "home", messages=(Message("user", "light"),)))


def test_a_student_that_has_become_slow_goes_back_to_its_thread():
    student = Timed(FAST_SECONDS / 4)
    pace = pace_of(student, 10)
    student.seconds = 50 * FAST_SECONDS
    pace.judged(student, Query("1", "home", "light"))
    assert not pace.is_fast(student, Query("1", "home", "light"))
