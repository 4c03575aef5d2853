"""Whether a query was answered is told from the log at the same cost, however long the log is."""

import time
from dataclasses import replace

import pytest

from cloud_worker.log.answered_queries import DAYS, Answered
from cloud_worker.log.distillation_log import DistillationLog

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def log(tmp_path):
    return DistillationLog(tmp_path / "log")


def rows(record, numbers, at=NOW):
    return [replace(record(0), query_id=f"q{n}", asked_at=at, received_at=at) for n in numbers]


def append(log, records, version):
    log.append(records, "spool", version)


def test_a_query_is_found_as_soon_as_it_is_in_the_log_and_nobody_elses(log, record, tmp_path):
    answered = Answered(DistillationLog(tmp_path / "log"))
    assert answered.find("home", "kitchen", "q1", NOW) is None
    append(log, rows(record, [1, 2]), 1)
    assert answered.find("home", "kitchen", "q1", NOW).query_id == "q1"
    append(log, rows(record, [3]), 2)
    assert answered.find("home", "kitchen", "q3", NOW).query_id == "q3"
    assert answered.find("home", "kitchen", "q2", NOW).query_id == "q2"
    assert answered.find("home", "cellar", "q1", NOW) is None
    assert answered.find("other", "kitchen", "q1", NOW) is None


def test_what_is_older_than_the_window_counts_as_never_answered(log, record, tmp_path):
    append(log, rows(record, [1], NOW - (DAYS + 1) * DAY), 1)
    append(log, rows(record, [2]), 2)
    answered = Answered(DistillationLog(tmp_path / "log"))
    assert answered.find("home", "kitchen", "q1", NOW) is None
    assert answered.find("home", "kitchen", "q2", NOW) is not None
    assert answered.find("home", "kitchen", "q2", NOW + (DAYS + 1) * DAY) is None


def test_the_newest_are_known_where_there_are_too_many(log, record, tmp_path):
    answered = Answered(DistillationLog(tmp_path / "log"), most=3)
    append(log, rows(record, range(5)), 1)
    known = [n for n in range(5) if answered.find("home", "kitchen", f"q{n}", NOW) is not None]
    assert known == [2, 3, 4]


def test_an_unknown_id_costs_the_same_in_a_log_ten_times_as_long(log, record, tmp_path):
    answered, took = Answered(DistillationLog(tmp_path / "log")), []
    for version, numbers in ((1, range(1300)), (2, range(1300, 13_000))):
        append(log, rows(record, numbers), version)
        answered.find("home", "kitchen", "q1", NOW)  # reads on, once
        took.append(min(timed(lambda: answered.find("home", "kitchen", "never", NOW)) for _ in range(20)))
    scan = min(timed(lambda: log.find("home", "kitchen", "never")) for _ in range(5))
    assert took[1] < max(3 * took[0], scan / 3), f"seconds at 1,300 and 13,000 rows: {took}; for a scan: {scan}"


def timed(work):
    began = time.perf_counter()
    assert work() is None
    return time.perf_counter() - began
