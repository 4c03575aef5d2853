import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.label_confidence import Calibration, score, scores

calibrations = st.builds(
    Calibration,
    st.floats(0.05, 20),
    st.tuples(*[st.floats(-1, 1)] * 4),
    st.tuples(*[st.floats(0.05, 2)] * 4),
    st.tuples(*[st.floats(-3, 3)] * 4),
    st.floats(-5, 5),
)


@given(
    calibration=calibrations,
    logits=st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    similarity=st.floats(-1, 1),
)
def test_one_row_scores_as_it_does_among_many(calibration, logits, similarity):
    row = np.array(logits)
    many = scores(calibration, np.stack([row, row[::-1]]), np.array([similarity, similarity]))
    assert abs(score(calibration, row, similarity) - many[0]) < 1e-9
    assert 0.0 <= score(calibration, row, similarity) <= 1.0
