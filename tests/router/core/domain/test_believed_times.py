"""Times are believed within a window, and one wrong clock changes nothing for other rows."""

import math
from dataclasses import replace

import pytest

from router.core.certification.missing_rows import SEQUENCE_LENGTH, WAIT_SECONDS, DeviceSequences
from router.core.domain.believed_times import OLDEST_SECONDS, SKEW_SECONDS, not_from_the_future, with_believed_time
from router.core.domain.query import Attempt, Query
from router.core.domain.record import may_certify
from router.core.domain.task import Task
from router.core.learning.training_rows import version_in_force

NOW = 1_800_000_000.0
TEN_YEARS = 10 * 365 * 86_400.0


def attempt_of(asked_at):
    query = Query("q", "home", "lamp", attempt=Attempt(explored=True, exploration=1.0, asked_at=asked_at))
    return with_believed_time(query, NOW).attempt


@pytest.mark.parametrize("asked_at", [0.0, NOW, NOW - 60, NOW - OLDEST_SECONDS])
def test_a_plausible_time_is_believed(asked_at):
    assert attempt_of(asked_at) == Attempt(explored=True, exploration=1.0, asked_at=asked_at)


def test_a_clock_a_little_ahead_is_set_to_the_gateways():
    assert attempt_of(NOW + SKEW_SECONDS) == Attempt(explored=True, exploration=1.0, asked_at=NOW)


@pytest.mark.parametrize("asked_at", [1.0, NOW - OLDEST_SECONDS - 1, NOW + SKEW_SECONDS + 1, NOW + TEN_YEARS, 1e300])
def test_a_time_that_cannot_be_makes_an_ordinary_row(asked_at):
    believed = attempt_of(asked_at)
    assert (believed.asked_at, believed.explored) == (0.0, False)


def test_a_query_that_was_asked_directly_stays_as_it_is():
    query = Query("q", "home", "lamp")
    assert with_believed_time(query, NOW) is query


def test_one_row_from_a_clock_ten_years_ahead_pins_no_version_and_makes_none_late(record):
    task = Task("home", "big")
    ahead = replace(
        record(1, received_at=NOW + TEN_YEARS, asked_at=NOW + TEN_YEARS, teacher_version="v1"),
        sequence_number=7 * SEQUENCE_LENGTH,
    )
    waits = replace(
        record(2, received_at=NOW, asked_at=NOW, teacher_version="v2"), sequence_number=7 * SEQUENCE_LENGTH + 3
    )
    rows = list(not_from_the_future([record(0, received_at=NOW - 9), ahead, waits], NOW))
    assert version_in_force(rows, task) == "v2"
    (line,) = [line for key, line in DeviceSequences.of(list(enumerate(rows))).sequences(-1).items() if key[1] == 7]
    assert line.missing == 0, "what it waits for is not given up before an hour has passed"
    assert not math.isinf(line.horizon)
    assert not may_certify(rows[1])
    assert rows[1].received_at == NOW - 9
    assert WAIT_SECONDS < TEN_YEARS
