"""The least promise that a reference's own unsteadiness leaves, and the intervals behind it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.monitoring.reference_consistency import (
    ASKED_TWICE,
    ASKED_TWICE_STEADY,
    breaks,
    in_words,
    least_promise,
    least_taken,
    wanted,
)
from router.core.statistics.intervals import share_interval


@given(rows=st.integers(1, 500), data=st.data())
def test_an_interval_holds_its_share_and_narrows_with_rows(rows, data):
    hits = data.draw(st.integers(0, rows))
    few, many = share_interval(hits, rows), share_interval(10 * hits, 10 * rows)
    assert 0 <= few.low <= few.share <= few.high <= 1
    assert many.high - many.low <= few.high - few.low


def test_an_interval_is_clopper_and_pearsons():
    found = share_interval(4, 200)
    assert (found.low, found.high) == (pytest.approx(0.00548, abs=1e-4), pytest.approx(0.05041, abs=1e-4))
    assert (share_interval(0, 0).low, share_interval(0, 0).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no share"):
        share_interval(3, 2)


@given(asked=st.integers(1, 300), data=st.data())
def test_the_least_promise_grows_with_every_contradiction(asked, data):
    differed = data.draw(st.integers(0, asked - 1))
    less, more = least_promise(differed, asked), least_promise(differed + 1, asked)
    assert less.share < more.share
    assert less.low <= more.low and less.high <= more.high


@given(asked=st.integers(0, 300), promise=st.floats(0.001, 0.5), more=st.floats(0, 0.4), data=st.data())
def test_a_larger_promise_is_never_refused_where_a_smaller_one_is_not(asked, promise, more, data):
    least = least_promise(data.draw(st.integers(0, asked)), asked)
    assert breaks(promise, least) or not breaks(promise + more, least)


@given(asked=st.integers(0, 300), promise=st.floats(1e-6, 1))
def test_a_reference_that_never_contradicts_itself_refuses_nothing(asked, promise):
    assert not breaks(promise, least_promise(0, asked))
    assert in_words(least_promise(0, asked)).endswith("as measured, and none is refused for it")


def test_a_promise_below_what_the_reference_keeps_itself_breaks_with_the_figure():
    least = least_promise(20, 200)
    assert not breaks(0.07, least)  # the rows do not show that it can't be kept
    assert breaks(0.02, least)
    assert re.search(r"differs from itself on 10\.0% of 200.* is 0\.1", in_words(least))


@given(asked=st.integers(1, 300), data=st.data())
def test_the_least_promise_that_is_said_to_be_taken_is_taken_and_a_smaller_one_is_not(asked, data):
    least = least_promise(data.draw(st.integers(1, asked)), asked)
    assert not breaks(least_taken(least), least)
    assert breaks(least_taken(least) - 2e-4, least)
    assert f"one below {least_taken(least):g} is refused" in in_words(least)


@given(differed=st.integers(0, 200), draws=st.booleans())
def test_a_steady_reference_is_asked_less_until_it_contradicts_itself(differed, draws):
    assert wanted(differed, draws=draws) == (ASKED_TWICE if draws or differed else ASKED_TWICE_STEADY)
