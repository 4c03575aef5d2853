"""Lives: what a student that memorises says, what a release truly loses, and what the bench prints last."""

import json

import numpy as np
import pytest

from bench import lives
from bench.parts.life_figures import least_saving, time_above
from bench.parts.lived import LABELS, RecordedFitter, RecordedReader, Serving, loss_of, share_kept
from bench.parts.recorded_scores import OTHERS, generated
from bench.parts.traffic import Law, World, anyone, steadily
from bench.parts.worlds import WORLDS
from router.backtest.students.student import ReplayedStudent
from router.core.domain.label_confidence import Calibration
from router.core.domain.record import Record
from router.core.learning.training_rows import FOLDS, fold_of

BY_MARGIN = Calibration(1.0, (0.0,) * 4, (1.0,) * 4, (0.0, 1.0, 0.0, 0.0), 0.0)
KEYS = ["world", "stationary", "lives", "broken", "low", "high", "local_share", "net_saving", "time_above"]


def reader(right, taught=()):
    """A head that is sure of every text, and right about some."""
    logits = np.zeros((len(right), 1 + OTHERS), np.float32)
    logits[np.arange(len(right)), np.where(right, 0, 1)] = 9.0
    return RecordedReader(logits, np.zeros(len(right), np.float32), dict(taught))


def serving(head, queries=0, threshold=0.5):
    return Serving(queries, ReplayedStudent(LABELS, head, BY_MARGIN), threshold)


def row(number, text, answer="right"):
    return Record("device", f"q{number}", "reference", "log", "lives", 1, 0.0, 0.0, str(text), answer)


def test_a_loss_is_that_of_the_law():
    one = serving(reader([True, True, False]))
    law = Law(np.array([0, 1, 2]), np.array([0.5, 0.3, 0.2]), np.array([False, True, False]))
    assert loss_of(one, law) == pytest.approx(0.5)
    assert share_kept(one, law) == pytest.approx(1.0)
    assert loss_of(serving(reader([True, True, False]), threshold=2.0), law) == 0
    assert loss_of(Serving(0, None, 2.0), law) == 0


def test_what_is_memorised_helps_unless_the_texts_are_new():
    one = serving(reader([False, False], taught={0: 0}))
    numbers, chances = np.array([0, 1]), np.array([0.7, 0.3])
    assert loss_of(one, Law(numbers, chances)) == pytest.approx(0.3)
    assert loss_of(one, Law(numbers, chances, are_new=True)) == pytest.approx(1.0)


def test_a_calibrating_row_is_memorised_only_where_another_fold_has_its_text():
    recorded = generated(50)
    rows = [row(number, 7) for number in range(12)] + [row(100, 8)]
    folds = [fold_of(one, FOLDS) for one in rows]
    fit = RecordedFitter(recorded, np.random.default_rng(0), memorises=True).fit(rows)
    known = fit.measures.reading.similarity == 1.0
    expected = [any(other != fold for other in folds[:12]) for fold in folds[:12]]
    assert known.tolist() == [*expected, False]
    assert fit.reader.read(["7", "8", "9"]).similarity.tolist()[:2] == [1.0, 1.0]


def test_the_least_saving_is_that_of_the_worst_tenth_after_the_first_release():
    asked = np.concatenate([np.ones(40), np.zeros(30), np.ones(5), np.zeros(25)])
    assert least_saving(asked, [serving(reader([True]), queries=40)]) == pytest.approx(0.5)
    assert least_saving(asked, []) is None


def test_time_above_counts_what_served_after_the_change():
    random = np.random.default_rng(0)
    texts = np.zeros(100, np.int_)
    before, after = (Law(np.array([0]), np.ones(1), np.array([changed])) for changed in (False, True))
    world = World(texts, anyone(100, random), steadily(100, random), ((0, before), (60, after)))
    stood = [serving(reader([True]), queries=20), Serving(80, None, 2.0)]
    assert time_above(world, stood, 0.02) == pytest.approx(0.5)
    assert time_above(world, [], 0.02) == 0


def test_the_last_line_tells_of_each_world(capsys):
    lives.main(["--lives", "1", "--queries", "1500", "--world", "bursts-5", "change", "--jobs", "1", "--generated"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["worlds"]
    assert [list(one)[: len(KEYS)] for one in rows] == [KEYS, KEYS]
    assert [(one["world"], one["stationary"], one["lives"]) for one in rows] == [
        ("bursts-5", True, 1),
        ("change", False, 1),
    ]


def test_a_world_from_elsewhere_is_named_by_its_module():
    assert lives.maker_of("bench.parts.worlds:load") is WORLDS["load"]
