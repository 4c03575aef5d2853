"""Which rows wait for what their device kept before them, and what of that never came."""

import random
import time
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.certification.certifying_rows import certifying
from router.core.certification.device_shares import SLACK_ROWS, heard_lately
from router.core.certification.missing_rows import (
    MOST_AT_ONCE,
    MOST_PER_SECOND,
    SEQUENCE_LENGTH,
    WAIT_SECONDS,
    DeviceSequences,
    settled,
)
from router.core.certification.trial import Trial
from router.core.domain.prediction import Prediction
from router.core.domain.record import Source
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.threshold_planning import Point

START = 3 * SEQUENCE_LENGTH
KITCHEN = ("kitchen", 3)
FREEZE = 10
ALPHA = attempt_alpha(0.95, 1)


def lines_of(rows, freeze, blind=(), repeats=frozenset()):
    return DeviceSequences.of(rows).sequences(freeze, blind, repeats)


def missed(rows, lines, observed):
    return DeviceSequences.of(rows).missed(lines, observed, heard_lately(row for _, row in reversed(rows)))


def numbered(row, number, at):
    return replace(row, sequence_number=START + number, received_at=at, asked_at=at)


@pytest.fixture
def kept(record):
    """Makes the row of a drawn query that was kept, by its number in the line."""
    values = {"source": Source.TAUGHT, "kept": True}
    return lambda number, at=0.0, **fields: numbered(record(number, **values | fields), number, at)


@pytest.fixture
def left(record):
    """Makes the row of a query that escalated, by the number of what was kept before it."""
    return lambda number, at=0.0, **fields: numbered(record(1000 + number, **fields), number, at)


def after(*rows, batch=FREEZE + 1):
    return [(batch, row) for row in rows]


def observed(rows, blind=()):
    return [row for _, row in settled(rows, lines_of(rows, FREEZE, blind), blind)]


def test_where_all_has_come_every_row_is_looked_at_at_once(kept, left):
    rows = after(left(0), left(0), kept(1), left(1), kept(2), kept(3), left(3))
    assert observed(rows) == [row for _, row in rows]
    assert lines_of(rows, FREEZE)[KITCHEN].missing == 0


def test_a_row_waits_for_what_was_kept_before_it(kept, left):
    rows = after(left(0), kept(1), left(2), kept(3))
    assert observed(rows) == [rows[0][1], rows[1][1]]
    rows += after(kept(2))
    assert observed(rows) == [row for _, row in rows]


def test_what_a_dead_device_still_held_is_not_missed_before_an_hour_and_lost_after_it(kept, left):
    rows = after(left(0), kept(1), left(4, at=5.0))
    soon, late = after(kept(1, WAIT_SECONDS, caller="hall")), after(kept(1, 2 * WAIT_SECONDS, caller="hall"))
    assert rows[-1] not in settled(rows, lines_of(rows + soon, FREEZE))
    assert lines_of(rows + soon, FREEZE)[KITCHEN].missing == 0
    assert rows[-1] in settled(rows, lines_of(rows + late, FREEZE))
    assert lines_of(rows + late, FREEZE)[KITCHEN].missing == 3


def test_what_was_missing_before_the_freeze_is_left_behind(kept, left):
    rows = [(FREEZE, left(0)), (FREEZE, kept(1)), (FREEZE, kept(3)), *after(left(3), kept(4))]
    assert observed(rows) == [row for _, row in rows[2:]]
    assert lines_of(rows, FREEZE)[KITCHEN].missing == 0


def test_what_is_degraded_has_no_number_of_its_own(kept, left):
    rows = after(left(0), kept(0, degraded=True), left(1))
    assert observed(rows) == [rows[0][1], rows[1][1]]


def test_a_line_that_begins_anew_neither_waits_for_the_one_before_nor_misses_what_lies_between(kept, left):
    rows = after(kept(1), left(3), kept(SEQUENCE_LENGTH + 1), left(SEQUENCE_LENGTH + 1))
    assert observed(rows) == [rows[position][1] for position in (0, 2, 3)]
    assert {line.missing for line in lines_of(rows, FREEZE).values()} == {0}


def test_two_agents_behind_one_name_have_lines_of_their_own(kept, left):
    rows = after(
        kept(1),
        left(SEQUENCE_LENGTH),
        left(2),
        kept(SEQUENCE_LENGTH + 1),
        kept(SEQUENCE_LENGTH + 2),
        kept(2, 2 * WAIT_SECONDS, caller="hall"),
    )
    lines = lines_of(rows, FREEZE)
    assert [lines[key].missing for key in (KITCHEN, ("kitchen", 4))] == [1, 0]


def test_what_a_line_begins_with_is_awaited_too(kept, left):
    rows = after(left(2))
    assert observed(rows) == []
    rows += after(kept(2), kept(1))
    assert observed(rows) == [row for _, row in rows]


def test_rows_without_a_number_are_looked_at_as_they_come(record):
    rows = after(record(0), record(1, source=Source.TAUGHT, kept=True))
    assert observed(rows) == [row for _, row in rows]


def test_blind_hours_say_nothing_and_nothing_is_missed_of_them(kept, left):
    rows = after(left(0, 1.0), kept(1, 2.0), left(5, 60.0), kept(6, 70.0), left(6, 200.0), kept(7, 3 * WAIT_SECONDS))
    blind = [(50.0, 100.0)]
    assert observed(rows, blind) == [rows[position][1] for position in (0, 1, 4, 5)]
    assert lines_of(rows, FREEZE, blind)[KITCHEN].missing == 0


def test_a_query_that_the_log_had_before_is_neither_awaited_nor_missed(kept, left):
    rows = after(kept(1), left(4), kept(6, 2 * WAIT_SECONDS))
    repeats = {("kitchen", START + number) for number in (2, 3, 4, 9)}
    lines = lines_of(rows, FREEZE, repeats=repeats)
    assert [row for _, row in settled(rows, lines)] == [rows[0][1], rows[1][1]]
    assert lines[KITCHEN].horizon == START + 5
    assert lines_of(rows[:2], FREEZE, repeats=repeats - {("kitchen", START + 3)})[KITCHEN].horizon == START + 3


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_whatever_comes_first_nothing_is_looked_at_before_what_was_kept_before_it(order, count):
    from router.core.domain.record import Record

    def row(number):
        fields = {"source": Source.TAUGHT, "kept": True, "sequence_number": START + number, "explored": True}
        return Record("d", f"q{number}", "big", "v1", "home", 1, 0.0, 0.0, "lamp", "lights", **fields)

    rows = after(*(row(number) for number in order[:count]))
    came = {row.sequence_number for _, row in rows}
    seen = {row.sequence_number for row in observed(rows)}
    assert seen == {position for position in came if set(range(START + 1, position + 1)) <= came}


class Sure:
    """A student that says the same of everything."""

    def predict(self, query):
        return Prediction("lights", 0.9, None)


def life(record, generator, lost):
    """A trial over four devices at a loss of exactly the allowance, most of it among what the champion keeps.

    Args:
        record: Makes records.
        generator: Of random numbers.
        lost: Share of the kept and drawn rows of two devices that never come.
    """
    one = Trial(1, 0.1, ALPHA, 0.5, FREEZE, 10_000, (Point(0.9, 0.9, 0.05),))
    rows, positions = [], [START] * 4
    for position in range(600):
        device, at = position % 4, 60.0 * position
        leaves, drawn = generator.random() < 0.2, generator.random() < 0.5
        wrong = generator.random() < (0.04 if leaves else 0.115)
        if not leaves and drawn:
            positions[device] += 1
        if leaves or (drawn and (device < 2 or generator.random() >= lost)):
            source = Source.ESCALATED if leaves else Source.TAUGHT
            fields = {"local_answer": "lights", "release": 1, "kept": not leaves, "propensity": 1.0 if leaves else 0.5}
            fields |= {"source": source, "exploration": 0.5, "explored": drawn, "caller": f"d{device}"}
            row = record(position, "lamp", "music" if wrong else "lights", **fields)
            rows += after(replace(row, sequence_number=positions[device], received_at=at, asked_at=at))
        if position % 30 == 29:
            lines = lines_of(rows, FREEZE)
            same = lambda asked, answer, reference: answer == reference  # noqa: E731
            one.observe(certifying(settled(rows, lines), one, one.observed), Sure(), same)
            one.miss(sum(line.missing for line in lines.values()))
            if one.certified() < 1.0:
                return True
    return False


@pytest.mark.parametrize("lost", [0.0, 0.5])
def test_rows_that_never_come_falsely_certify_no_more_often_than_alpha(record, lost):
    generator = random.Random(0)
    false = sum(life(record, generator, lost) for _ in range(100))
    assert false / 100 <= ALPHA + 2 * (ALPHA / 100) ** 0.5


def forged(record, count, at):
    """Rows of one device that each name a million kept before it, none of which came."""
    rows = (record(number, caller="liar", received_at=at) for number in range(count))
    return after(
        *(replace(row, sequence_number=(5 + number) * SEQUENCE_LENGTH + 999_999) for number, row in enumerate(rows))
    )


def honest(record, devices, rows, at=0.0):
    return after(*(record(10_000 + n, caller=f"d{n % devices}", received_at=at) for n in range(rows)))


def test_a_gap_costs_the_same_however_large_it_is(record):
    rows = honest(record, 4, 200) + forged(record, 30, 1.0) + honest(record, 4, 4, at=2 * WAIT_SECONDS)
    one = Trial(1, 0.02, ALPHA, 1.0, FREEZE, 10_000, (Point(0.9, 0.9, 0.005),))
    tracemalloc.start()
    began = time.process_time()
    lines = lines_of(rows, FREEZE)
    assert sum(line.missing for line in lines.values()) > 25_000_000
    one.observe(certifying(settled(rows, lines), one, one.observed), Sure(), lambda asked, answer, reference: True)
    one.miss(sum(line.missing for line in lines.values()))
    assert one.rows > 25_000_000
    assert one.certified() == 2.0 and one.evidence(0.9) < 0 and one.losses(0.9) == one.missing
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5.0
    assert peak < 20e6


@pytest.mark.parametrize("devices", [1, 3, 20])
def test_the_missing_rows_of_one_device_weigh_no_more_than_its_share(record, devices):
    rows = honest(record, devices, 200) + forged(record, 30, 1.0) + honest(record, devices, devices, 2 * WAIT_SECONDS)
    observed = Counter({f"d{n}": 200 // devices for n in range(devices)})
    found = missed(rows, lines_of(rows, FREEZE), observed)
    share = max(0.05, 1 / (devices + 1))
    assert found <= share * (observed.total() + found) + SLACK_ROWS
    assert found > 0


def test_a_device_alone_misses_no_more_than_it_can_have_kept(record):
    rows = forged(record, 30, 1.0) + after(record(99, caller="liar", received_at=2 * WAIT_SECONDS))
    found = missed(rows, lines_of(rows, FREEZE), Counter())
    assert found == MOST_AT_ONCE + MOST_PER_SECOND * (2 * WAIT_SECONDS - 1)


def test_an_honest_loss_counts_in_full(kept, left):
    rows = after(left(0), kept(1), left(4, at=5.0), kept(1, 2 * WAIT_SECONDS, caller="hall"))
    assert missed(rows, lines_of(rows, FREEZE), Counter(kitchen=50, hall=50)) == 3


def plainly(rows, freeze, repeated):
    """Where a line stands, from all its numbers at once: restart, horizon, missing."""
    came, named = set(repeated), {}
    for batch, row in rows:
        came |= {row.sequence_number} if row.kept else set()
        before = named.get(row.sequence_number, (batch, row.received_at))
        named[row.sequence_number] = (min(before[0], batch), min(before[1], row.received_at))
    newest = max(row.received_at for _, row in rows)
    restart, horizon, missing = 0, float("inf"), 0
    for number in range(START + 1, max(named) + 1):
        if number in came:
            continue
        batch, received_at = named[min(one for one in named if one >= number)]
        if batch <= freeze:
            restart = number
        elif newest - received_at < WAIT_SECONDS:
            return restart, number, missing
        else:
            missing += 1
    return restart, horizon, missing


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25),
    st.sets(st.integers(1, 12), max_size=4),
    st.integers(0, 25),
)
def test_what_is_remembered_of_a_line_is_all_that_its_rows_say_of_it(named, repeated, freeze):
    from router.core.domain.record import Record

    def row(position, number, kept, hours):
        fields = {
            "source": Source.TAUGHT if kept else Source.ESCALATED,
            "kept": kept,
            "sequence_number": START + number,
        }
        at = 0.7 * hours * WAIT_SECONDS
        return Record("kitchen", f"q{position}", "big", "v1", "home", 1, at, at, "lamp", "lights", **fields)

    rows = [
        (position, row(position, number, kept and number > 0, hours))
        for position, (number, kept, hours) in enumerate(named)
    ]
    repeats = {("kitchen", START + number) for number in repeated}
    line = lines_of(rows, freeze, repeats=repeats)[KITCHEN]
    expected = plainly(rows, freeze, {START + number for number in repeated})
    assert (line.restart, line.horizon, line.missing) == expected
