from hypothesis import given
from hypothesis import strategies as st

from router.core.certification.observations import Columns, Observation
from router.core.statistics.threshold_planning import NEVER

LOOKS = st.lists(
    st.builds(
        Observation,
        score=st.floats(0, 1) | st.just(float("-inf")),
        wrong=st.booleans(),
        release=st.integers(0, 3),
        kept=st.booleans(),
        weight=st.floats(0.01, 1),
    )
)


def as_lists(columns):
    arrays = (columns.scores, columns.weights, columns.wrong, columns.releases, columns.kept)
    return [array.tolist() for array in arrays], columns.weight


@given(st.lists(LOOKS, max_size=4))
def test_columns_read_as_rows_come_are_those_of_all_rows(parts):
    observations, known = [], None
    for part in parts:
        observations.extend(part)
        known = Columns.of(observations, known)
        assert as_lists(known) == as_lists(Columns.of(list(observations)))


def test_another_list_is_read_from_its_start():
    first = [Observation(0.5, False, 1, True)]
    other = [Observation(0.9, True, 2, False), Observation(0.8, True, 2, False)]
    assert Columns.of(other, Columns.of(first)).scores.tolist() == [0.9, 0.8]


def test_a_shorter_list_is_read_anew():
    observations = [Observation(0.5, False, 1, True), Observation(0.6, False, 1, True)]
    known = Columns.of(observations)
    del observations[0]
    assert Columns.of(observations, known).scores.tolist() == [0.6]


def test_nothing_is_read_twice():
    observations = [Observation(0.5, False, 1, True)]
    known = Columns.of(observations)
    assert Columns.of(observations, known) is known


def test_without_rows_the_share_is_nothing():
    columns = Columns.of([])
    assert columns.share(0.5) == 0.0


def test_what_never_came_is_lost_at_every_threshold_and_kept_at_none():
    columns = Columns.of(
        [Observation(0.5, False, 1, True), Observation(0.2, False, 1, True), Observation(NEVER, True, -1, True)]
    )
    assert [columns.share(threshold) for threshold in (0.1, 0.4, NEVER)] == [1.0, 0.5, 0.0]
    assert columns.lost(NEVER).tolist() == [False, False, True]
