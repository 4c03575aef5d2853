import pytest

from router.core.release.plausible_reports import MOST_AT_ONCE, MOST_PER_SECOND, plausible
from router.core.release.reports import DeviceReport, TaskReport


def device(*tasks):
    return DeviceReport("kitchen", tasks=tasks)


def test_an_honest_report_is_taken_as_it_is():
    before = device(TaskReport("home", answered=100, kept=60, escalated=40, covered=90, explored=9))
    now = device(TaskReport("home", 3, 0, 900, 500, 400, 90, 0, 7, 800, 500, 45, 3, exploration=0.1))
    assert plausible(now, before, 10.0) == now
    assert plausible(now, None, 0.0) == now


@pytest.mark.parametrize("name", ["answered", "failed", "explored_kept"])
def test_counters_grow_no_faster_than_a_device_can_answer(name):
    before, claimed = (
        device(TaskReport("home", answered=100)),
        device(TaskReport("home", **{"answered": 100, name: 2**64 - 1})),
    )
    found = getattr(plausible(claimed, before, 2.0).tasks[0], name)
    assert found <= 100 + 2 * MOST_PER_SECOND + MOST_AT_ONCE


@pytest.mark.parametrize("name", ["kept", "escalated", "degraded", "covered", "explored", "healthy_answers"])
def test_no_part_is_larger_than_what_was_answered(name):
    claimed = device(TaskReport("home", answered=50, **{name: 10**7}))
    assert getattr(plausible(claimed, None, 0.0).tasks[0], name) == 50


def test_a_device_that_began_anew_is_bounded_from_nothing():
    before, now = device(TaskReport("home", answered=10**6)), device(TaskReport("home", answered=10**5, covered=10**5))
    assert plausible(now, before, 1.0).tasks[0].answered == MOST_PER_SECOND + MOST_AT_ONCE
    assert plausible(now, before, -5.0).tasks[0].covered == MOST_AT_ONCE
