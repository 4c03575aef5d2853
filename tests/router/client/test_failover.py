import pytest

from router.client.failover import Call, Wait, failover
from router.core.errors import BadInputError, BusyError, DeadlineError, OverloadedError, UnavailableError

AWAY = UnavailableError("a:1 can't be reached")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_targets_are_asked_in_order_and_then_waited_for():
    clock = Clock()
    steps = failover(["a:1", "b:1"], 10, clock)
    assert next(steps) == Call(0, 10)
    clock.now = 1
    assert steps.send(AWAY) == Call(1, 9)
    waited = steps.send(AWAY)
    assert isinstance(waited, Wait)
    assert (waited.pause, waited.seconds) == (0.05, 8.95)
    assert steps.send(None) == Call(0, 9)


def test_pauses_double_up_to_a_second_and_the_reason_is_said_once():
    steps, pauses, reasons = failover(["a:1"], 100, Clock()), [], []
    step = next(steps)
    for _ in range(8):
        step = steps.send(AWAY)
        pauses.append(step.pause)
        reasons.append(bool(step.reason))
        step = steps.send(None)
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert reasons == [True] + [False] * 7


@pytest.mark.parametrize(
    "error", [BadInputError("text", "is bad"), OverloadedError("too large"), DeadlineError("late")]
)
def test_an_error_that_another_target_would_give_too_is_final(error):
    steps = failover(["a:1", "b:1"], 10, Clock())
    next(steps)
    with pytest.raises(type(error)) as caught:
        steps.send(error)
    assert caught.value is error


def test_a_query_ends_at_its_deadline_with_every_target_named():
    clock = Clock()
    steps = failover(["a:1", "b:1"], 10, clock)
    next(steps)
    steps.send(AWAY)
    steps.send(UnavailableError("nobody above answers"))
    clock.now = 10
    with pytest.raises(UnavailableError, match="a:1 can't be reached; b:1: nobody above answers"):
        steps.send(None)


def test_a_target_that_came_back_too_late_to_answer_is_told_as_away():
    steps = failover(["a:1"], 10, Clock())
    next(steps)
    steps.send(AWAY)
    steps.send(None)
    with pytest.raises(UnavailableError):
        steps.send(DeadlineError("late"))


def test_pushback_is_obeyed_when_every_target_asks_for_it():
    steps = failover(["a:1", "b:1"], 10, Clock())
    next(steps)
    steps.send(OverloadedError("busy", 3))
    assert steps.send(OverloadedError("busy", 2)).pause == 2


def test_a_teacher_that_is_left_alone_beyond_the_deadline_ends_the_query_at_once():
    steps = failover(["a:1"], 10, Clock())
    next(steps)
    with pytest.raises(BusyError) as caught:
        steps.send(BusyError("left alone", 60))
    assert caught.value.retry_after == 60


def test_pushback_beyond_the_deadline_ends_the_query_at_once():
    steps = failover(["a:1"], 10, Clock())
    next(steps)
    with pytest.raises(OverloadedError) as caught:
        steps.send(OverloadedError("busy", 60))
    assert caught.value.retry_after == 60
