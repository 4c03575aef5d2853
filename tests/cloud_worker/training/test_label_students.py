from dataclasses import replace

import numpy as np
import pytest

from cloud_worker.training import compact_student
from cloud_worker.training.golden_inputs import golden_inputs
from cloud_worker.training.label_students import fit, targets_of
from cloud_worker.training.spec import Recipe
from router.core.domain.task import Task
from router.core.learning.training_rows import FOLDS, fold_of, lessons_of
from router.students.feature_cache import KEPT_AT_ONCE, Features
from router.students.onnx_student import Student

ROWS = 150
TASK = Task("home", reference="big", student="encoder-head")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def recipe(encoder_folder, cache):
    return Recipe(TASK, str(encoder_folder), cache)


@pytest.fixture
def rows(record, utterances):
    return [record(position, text, label) for position, (text, label) in enumerate(utterances(ROWS))]


def quietly(phase, share):
    assert phase in {"fitting", "exporting"}
    assert 0 <= share <= 1


def opened(fitted, folder):
    for name, content in fitted.files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return Student(folder, fitted.spec)


@pytest.mark.parametrize(("kind", "least"), [("compact", 0.9), ("encoder-head", 0.6)])  # the encoder is a random one
def test_a_student_learns_its_lessons(kind, least, recipe, rows, utterances, tmp_path, monkeypatch):
    monkeypatch.setattr(compact_student.Schedule, "__init__", _short(compact_student.Schedule.__init__))
    fitted = fit(rows, replace(recipe, task=replace(TASK, student=kind)), quietly)
    assert fitted.spec.kind == kind
    assert fitted.spec.labels == ("clock", "lights", "music")
    student = opened(fitted, tmp_path)
    unseen = utterances(60, seed=1)
    answers = student.read([text for text, _ in unseen]).logits.argmax(axis=1)
    right = [fitted.spec.labels[answer] == label for answer, (_, label) in zip(answers, unseen, strict=True)]
    assert np.mean(right) > least


def _short(initialise):
    def short(self, **fields):
        initialise(self, **({"epochs": 8, "least_steps": 60} | fields))

    return short


def test_a_head_is_calibrated_on_every_row_by_a_head_that_had_not_seen_it(recipe, rows):
    fitted = fit(rows, recipe, quietly)
    assert [row.key for row in fitted.rows] == [row.key for row in rows]
    assert fitted.measures.reading.logits.shape == (ROWS, 3)
    assert np.isfinite(fitted.measures.reading.logits).all()


def test_rows_outside_the_promise_teach_but_do_not_calibrate(recipe, rows):
    rows = [*rows[:100], *(replace(row, covered=False, explored=False) for row in rows[100:])]
    fitted = fit(rows, recipe, quietly)
    assert len(fitted.rows) == 100


def test_the_same_rows_give_the_same_version_and_other_rows_another(recipe, rows):
    first, again, other = (fit(some, recipe, quietly).spec.version for some in (rows, rows, rows[:120]))
    assert first == again != other


def test_one_label_is_nothing_to_learn(recipe, record):
    assert fit([record(position) for position in range(20)], recipe, quietly) is None


def test_a_label_that_too_few_rows_teach_stays_unknown(recipe, rows, record):
    fitted = fit([*rows, record(900, "hour", "timer"), record(901, "noon", "timer")], recipe, quietly)
    assert "timer" not in fitted.spec.labels


def test_every_fold_has_rows(rows):
    assert {fold_of(row, FOLDS) for row in rows} == set(range(FOLDS))


def test_a_text_is_embedded_once_ever(tmp_path):
    asked = []

    def embed(text):
        asked.append(text)
        return np.full(3, len(text), np.float32)

    for _ in range(2):
        with Features(tmp_path / "features.sqlite", embed) as features:
            vectors = features.of(["a", "bb", "a"])
            assert [vector.tolist() for vector in vectors] == [[1] * 3, [2] * 3, [1] * 3]
    assert asked == ["a", "bb"]


def test_texts_that_were_read_before_a_break_are_not_read_again(tmp_path):
    texts, asked = [str(number) for number in range(2 * KEPT_AT_ONCE)], []

    def embed(text):
        asked.append(text)
        if len(asked) == KEPT_AT_ONCE + 10:
            raise KeyboardInterrupt
        return np.full(3, float(text), np.float32)

    with pytest.raises(KeyboardInterrupt), Features(tmp_path / "features.sqlite", embed) as features:
        features.of(texts)
    asked.clear()
    with Features(tmp_path / "features.sqlite", embed) as features:
        assert [vector[0] for vector in features.of(texts)] == list(range(2 * KEPT_AT_ONCE))
    assert asked == texts[KEPT_AT_ONCE:]


def test_a_recipe_makes_targets_soft_flat_or_hard(rows):
    lessons = lessons_of(rows, ("clock", "lights", "music"))
    soft = replace(lessons, targets=np.tile(np.float32([[0.1, 0.7, 0.2]]), (len(lessons.texts), 1)))
    assert targets_of(soft, TASK) is soft
    hard = targets_of(soft, replace(TASK, recipe="hard-labels")).targets
    assert (hard == [0, 1, 0]).all()
    flat = targets_of(soft, replace(TASK, options={"temperature": 4.0})).targets
    assert np.allclose(flat.sum(axis=1), 1)
    assert (flat[:, 1] < 0.7).all() and (flat.argmax(axis=1) == 1).all()


LONG = "turn the lights on " + "word " * 100 + "no play a song"


@pytest.mark.parametrize("kind", ["compact", "encoder-head"])
def test_what_the_student_cuts_is_measured_as_cut(kind, recipe, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(compact_student.Schedule, "__init__", _short(compact_student.Schedule.__init__))
    rows = [*rows[:-20], *(replace(row, text=f"{LONG} {position}") for position, row in enumerate(rows[-20:]))]
    fitted = fit(rows, replace(recipe, task=replace(TASK, student=kind)), quietly)
    assert [row.text.startswith(LONG) for row in fitted.rows] == fitted.measures.reading.cut.tolist()
    assert any(fitted.measures.reading.cut)
    calibrated = fitted.measures.calibrate(np.ones(len(fitted.rows), bool), np.ones(len(fitted.rows)))
    (tmp_path / "golden").write_bytes(golden_inputs(judging(fitted, calibrated.label, tmp_path), fitted.golden))
    assert "word word" not in (tmp_path / "golden").read_text()


def judging(fitted, calibration, folder):
    student = opened(fitted, folder)
    student.calibration = calibration
    return student
