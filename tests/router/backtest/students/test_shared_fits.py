"""Promises that are replayed together give what each gives alone."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from router.backtest.logs.reader import Asked, Columns, Log
from router.backtest.run import Plan, run
from router.backtest.students import ngram_student as hashed
from router.backtest.students.ngrams import HashedTexts, Matrix, Rarity
from router.backtest.students.shared_fits import MOST_KEPT, SharedFits
from router.backtest.students.student import Fit
from router.core.domain.label_confidence import Reading
from router.core.learning.held_out import LabelMeasures
from router.core.learning.training_rows import calibrating, known_labels, lessons_of

PROMISES = (0.02, 0.05, 0.2)


def log_of(rows):
    return Log(Path("log"), Columns("text", "answer"), tuple(Asked(row["text"], row["answer"]) for row in rows))


class Counting:
    """A fitter that counts what it is asked for."""

    def __init__(self):
        self.asked = []

    def fit(self, rows):
        self.asked.append([row.query_id for row in rows])


def test_promises_together_give_each_what_it_gives_alone(make_rows):
    log, plan = log_of(make_rows(900)), Plan(promises=PROMISES, repeat=2)
    together = run(log, plan)
    alone = [found for promise in PROMISES for found in run(log, replace(plan, promises=(promise,)))]
    for one, other in zip(together, alone, strict=True):
        assert one.history == other.history
        assert one.more == other.more
        assert one.figures | {"seconds": 0} == other.figures | {"seconds": 0}


def test_the_first_student_of_all_promises_is_fitted_once(make_rows, monkeypatch):
    sizes = []
    fit = hashed.HashedFitter.fit
    monkeypatch.setattr(hashed.HashedFitter, "fit", lambda self, rows: sizes.append(len(rows)) or fit(self, rows))
    histories = run(log_of(make_rows(900)), Plan(promises=PROMISES))
    assert sizes.count(min(sizes)) == 1
    assert all(len(found.history.releases) for found in histories)


class Plainly:
    """The light student as it is defined: a fit of its own without each row, nothing shared."""

    def __init__(self, texts):
        self._texts = HashedTexts(texts)

    def fit(self, rows):
        labels = known_labels(rows)
        if len(labels) < 2:
            return None
        texts = lessons_of(rows, labels).texts
        vectors = Rarity.of(self._texts.counts(texts))
        reader = PlainReader.of(rows, labels, self._texts, vectors)
        held = calibrating(rows)
        without = [
            PlainReader.of([other for other in rows if other is not row], labels, self._texts, vectors) for row in held
        ]
        said = [student.read([row.text]) for student, row in zip(without, held, strict=True)]
        logits, similarity = [one.logits[0] for one in said], [one.similarity[0] for one in said]
        return Fit(labels, reader, held, LabelMeasures(labels, Reading(np.array(logits), np.array(similarity))))


@dataclass
class PlainReader:
    texts: HashedTexts
    rarity: Rarity
    vectors: Matrix
    votes: np.ndarray
    centroids: np.ndarray

    @classmethod
    def of(cls, rows, labels, texts, rarity):
        lessons = lessons_of(rows, labels)
        vectors = rarity.features(texts.counts(lessons.texts))
        likeness = (vectors @ vectors.T).toarray()
        kernel = np.exp(hashed.BEND * (likeness - 1.0)) + hashed.RIDGE * np.eye(len(likeness))
        lengths = np.sqrt(np.diag(lessons.targets.T @ likeness @ lessons.targets))
        centroids = lessons.targets / np.maximum(lengths, 1e-6)
        return cls(texts, rarity, vectors, np.linalg.solve(kernel, lessons.targets), centroids)

    def read(self, texts):
        near = (self.rarity.features(self.texts.counts(texts)) @ self.vectors.T).toarray()
        return Reading(np.exp(hashed.BEND * (near - 1.0)) @ self.votes, (near @ self.centroids).max(axis=1))


def test_a_backtest_is_the_same_to_the_digit_as_by_plain_fits(make_rows, monkeypatch):
    log = log_of(make_rows(400))
    plan = Plan(promises=(0.05, 0.2))
    fast = run(log, plan)
    monkeypatch.setattr(hashed, "HashedFitter", Plainly)
    plain = run(log, plan)
    assert len(plain[0].figures["releases"]) > 1
    for one, other in zip(fast, plain, strict=True):
        assert one.history.served == other.history.served
        assert one.history.events == other.history.events
        assert one.more == other.more


def test_a_long_life_keeps_few_fits(make_records):
    counted = Counting()
    shared = SharedFits(counted)
    for _ in range(2):
        for rows in range(1, MOST_KEPT + 3):
            shared.fit(make_records(rows))
    assert len(counted.asked) == MOST_KEPT + 2 * 2


@pytest.mark.parametrize("change", [{"propensity": 0.5}, {"query_id": "other"}, {"covered": False}])
def test_rows_that_differ_are_fitted_apart(change, make_records):
    rows, counted = make_records(4), Counting()
    shared = SharedFits(counted)
    shared.fit(rows)
    shared.fit(list(rows))
    shared.fit([replace(rows[0], **change), *rows[1:]])
    assert len(counted.asked) == 2
