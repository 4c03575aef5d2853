"""What a device would defer whatever the threshold counts as deferred where a threshold is proposed."""

import numpy as np
import pytest

from router.core.domain.label_confidence import Reading
from router.core.errors import ModelError
from router.core.learning.held_out import LabelMeasures, TextMeasures
from router.core.learning.reliability import reliability_curve
from router.core.policy.text_confidence import TEXT_SIGNALS
from router.core.statistics.threshold_planning import plan_for_budget, propose, prospect

ROWS = 400


@pytest.fixture
def logits():
    made = np.zeros((ROWS, 3))
    made[:, 0] = np.linspace(1, 8, ROWS)
    return made


def measured(logits, cut):
    agrees = np.arange(ROWS) % 10 > 0
    calibrated = LabelMeasures(("a", "b", "c"), Reading(logits, np.ones(ROWS), cut)).calibrate(agrees, np.ones(ROWS))
    return calibrated, agrees


def test_a_row_that_was_cut_has_no_score_and_calibrates_nothing(logits):
    cut = np.arange(ROWS) >= ROWS // 2
    calibrated, agrees = measured(logits, cut)
    assert np.isneginf(calibrated.scores[cut]).all()
    assert ((calibrated.scores[~cut] >= 0) & (calibrated.scores[~cut] <= 1)).all()
    half = LabelMeasures(("a", "b", "c"), Reading(logits[~cut], np.ones(ROWS // 2)))
    assert half.calibrate(agrees[~cut], np.ones(ROWS // 2)).label == calibrated.label
    curve = reliability_curve(calibrated.scores, agrees, np.ones(ROWS))
    assert all(0 <= value <= 1 for point in curve for value in point)


def test_no_threshold_is_expected_to_keep_a_row_that_was_cut(logits):
    cut = np.arange(ROWS) >= ROWS // 2
    calibrated, _ = measured(logits, cut)
    agrees, weights = np.ones(ROWS, bool), np.ones(ROWS)
    points = prospect(calibrated.scores, agrees, weights, 0.02)
    assert max(point.kept for point in points) == pytest.approx(0.5)
    assert all(0 <= point.threshold <= 1 for point in points)
    assert propose(calibrated.scores, agrees, weights, 0.02).expected_local_share == pytest.approx(0.5)
    assert plan_for_budget(calibrated.scores, agrees, weights, 0.1, 0.0).threshold >= 0


def test_where_every_row_was_cut_nothing_can_be_calibrated(logits):
    with pytest.raises(ModelError, match="no calibrating row has a score"):
        measured(logits, np.ones(ROWS, bool))
    nothing = prospect(np.full(ROWS, -np.inf), np.ones(ROWS, bool), np.ones(ROWS), 0.02)
    assert nothing == ()


def test_a_text_that_is_no_whole_answer_counts_as_deferred():
    signals = np.tile(np.linspace(1, 5, ROWS)[:, None], len(TEXT_SIGNALS))
    signals[::4] = np.nan
    calibrated = TextMeasures(("x",) * ROWS, signals).calibrate(np.arange(ROWS) % 10 > 0, np.ones(ROWS))
    assert np.isneginf(calibrated.scores[::4]).all()
    assert np.isfinite(np.delete(calibrated.scores, np.s_[::4])).all()
