import concurrent.futures

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.state.store import Store
from cloud_worker.state.traffic import KEPT_SECONDS, Passed, Traffic, growth
from router.core.release.reports import DeviceReport, TaskReport


@pytest.fixture
def traffic(state_url):
    return Traffic(Store(state_url).engine)


def report(answered, covered=None, exploration=0.1, task="home"):
    covered = answered if covered is None else covered
    return TaskReport(task, answered=answered, covered=covered, exploration=exploration)


def device(*tasks):
    return DeviceReport("kitchen", tasks=tasks)


def test_a_task_that_is_new_to_a_device_is_all_new():
    assert growth(None, report(100, 90)) == Passed(100, 90, pytest.approx(9.0))


def test_only_what_grew_counts():
    assert growth(report(100, 90), report(150, 130)) == Passed(50, 40, pytest.approx(4.0))


def test_a_device_that_started_anew_is_not_counted_backwards():
    assert growth(report(100), report(30)) == Passed(30, 30, pytest.approx(3.0))


def test_a_rate_that_changed_between_two_reports_plans_the_fewer_rows():
    assert growth(report(100, exploration=1.0), report(200, exploration=0.05)).planned == pytest.approx(5.0)


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_growths_add_up_to_the_last_report(counts):
    seen, total, before = 0, 0, None
    for count in counts:
        seen += count
        now = report(seen)
        total += growth(before, now).answered
        before = now
    assert total == seen


def test_a_time_is_the_sum_of_its_minutes(traffic):
    traffic.add(device(), device(report(100), report(7, task="car")), 600.0)
    traffic.add(device(report(100)), device(report(160)), 660.0)
    assert traffic.between("home", 600.0, 660.0) == Passed(100, 100, pytest.approx(10.0))
    assert traffic.between("home", 600.0, 720.0).answered == 160
    assert traffic.between("home", 720.0, 7200.0) == Passed()
    assert traffic.between("car", 0.0, 7200.0).answered == 7


def test_what_a_device_did_before_its_first_contact_counts_for_nothing(traffic):
    traffic.add(None, device(report(100_000)), 600.0)
    assert traffic.between("home", 0.0, 7200.0) == Passed()


def test_old_minutes_are_dropped(traffic):
    traffic.add(device(), device(report(100)), 600.0)
    traffic.add(device(), device(report(1)), 700.0 + KEPT_SECONDS)
    assert traffic.between("home", 0.0, 1200.0) == Passed()


def test_gateways_count_into_the_same_minute(state_url):
    url = state_url
    gateways = [Traffic(Store(url).engine) for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = [pool.submit(gateways[position % 4].add, device(), device(report(5)), 60.0) for position in range(40)]
        for one in done:
            one.result()
    assert gateways[0].between("home", 60.0, 120.0).answered == 200
