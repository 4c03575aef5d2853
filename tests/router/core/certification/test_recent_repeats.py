import math

import numpy as np
import pytest

from router.core.certification.recent_repeats import RecentRepeats


def taken(record, texts, exploration=1.0):
    repeats = RecentRepeats()
    for position, text in enumerate(texts):
        row = record(position, text, "lights", caller=f"device-{position % 3}", explored=True, exploration=exploration)
        repeats.take(row, is_label=False)
    return repeats


def test_before_any_row_nothing_is_known():
    known, earliest = RecentRepeats().before_trial(0.5)
    assert (known.is_local, earliest) == (False, -math.inf)


def test_where_queries_come_independently_rows_of_before_may_certify(record):
    texts = np.random.default_rng(0).integers(0, 50, 1500)
    known, earliest = taken(record, [f"text {text}" for text in texts]).before_trial(1.0)
    assert (known.piece, earliest) == (1.0, -math.inf)


def test_after_a_local_repertoire_only_rows_asked_later_certify_by_as_much_as_it_reaches(record):
    random = np.random.default_rng(0)
    parts = [random.permutation(np.repeat(np.arange(40), 8)) + 40 * start for start in range(6)]
    known, earliest = taken(record, [f"text {text}" for text in np.concatenate(parts)]).before_trial(1.0)
    last = 6 * 320 - 1.0
    assert known.effect == pytest.approx(8, rel=0.25)
    assert last + 64 <= earliest <= last + 600  # a row comes each second


def test_only_the_latest_rows_tell(record):
    texts = [f"text {position // 8}" for position in range(800)] + [f"other {position}" for position in range(2000)]
    assert not taken(record, texts).before_trial(1.0)[0].is_local


def test_bursts_of_what_escalates_beside_a_champion_are_less_than_a_row(record):
    repeats = RecentRepeats()
    for position in range(1500):
        said = {"local_answer": "music", "kept": False, "propensity": 1.0}
        row = record(position, f"text {position // 5}", explored=position % 20 == 0, exploration=0.05, **said)
        repeats.take(row, is_label=False)
    known, earliest = repeats.before_trial(0.05)
    assert known.piece == 1.0
    assert known.is_local == (earliest > -math.inf)
