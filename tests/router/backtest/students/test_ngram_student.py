import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.backtest.students import ngram_student as hashed
from router.backtest.students.ngram_student import BEND, RIDGE, HashedFitter
from router.backtest.students.ngrams import MOST_FEATURES, HashedTexts, Neighbours, Rarity
from router.core.domain.record import Record, Source
from router.core.learning.training_rows import lessons_of


def records(rows):
    return [
        Record(
            "device-1", f"q-{position:06d}", "log", "log", "backtest", 1, position, position, row["text"], row["answer"]
        )
        for position, row in enumerate(rows)
    ]


def fitted(rows):
    made = records(rows)
    return made, HashedFitter([row.text for row in made]).fit(made)


def test_it_learns_what_words_mean(make_rows):
    _, fit = fitted(make_rows(300))
    asked = make_rows(200, seed=1)
    reading = fit.reader.read([row["text"] for row in asked])
    said = [fit.labels[position] for position in reading.logits.argmax(axis=1)]
    assert np.mean([one == row["answer"] for one, row in zip(said, asked, strict=True)]) > 0.97


def test_what_it_says_of_a_calibrating_row_was_not_learned_from_it(make_rows):
    rows = make_rows(200)
    rows[7]["answer"] = rows[11]["answer"] = "odd"
    rows += [{"text": f"strange {number}", "answer": "odd"} for number in range(3)]
    made, fit = fitted(rows)
    said = dict(zip([row.query_id for row in fit.rows], fit.measures.answers, strict=True))
    assert said[made[7].query_id] != "odd"
    assert fit.labels[fit.reader.read([made[7].text]).logits.argmax()] == "odd"  # and this one was


def kernel(cosine):
    return np.exp(BEND * (cosine - 1))


def said_without(row, made, fit):
    """What a student of all rows but one says of it: logits and similarity, by a fit of its own."""
    rest = [other for other in made if other is not row]
    rarity = fit.reader.rarity  # of all lessons, as where it is left out by algebra
    taught = lessons_of(rest, fit.labels)
    lessons = rarity.features(HashedTexts(taught.texts).counts(taught.texts))
    targets = np.asarray(taught.targets, np.float64)
    likeness = np.asarray(Neighbours.of(lessons).cosines(lessons), np.float64)
    votes = np.linalg.solve(kernel(likeness) + RIDGE * np.eye(len(targets)), targets)
    lengths = np.sqrt((targets * (likeness @ targets)).sum(axis=0))
    near = Neighbours.of(lessons).cosines(rarity.features(HashedTexts(["x"]).counts([row.text])))[0]
    return kernel(near) @ votes, np.where(lengths > 0, near @ targets / np.maximum(lengths, 1e-6), 0.0).max()


@pytest.mark.parametrize("seed", range(3))
def test_leaving_a_row_out_is_the_same_as_fitting_without_it(make_rows, seed):
    rows = make_rows(80, seed)
    twice = [rows[3], {**rows[4], "answer": rows[5]["answer"]}, rows[3]]  # asked again, and once answered otherwise
    once = [{"text": "the only text of its kind", "answer": "alone"}] * 3
    unknown = [{"text": rows[6]["text"], "answer": "too rare to be learned"}, {"text": "", "answer": rows[0]["answer"]}]
    made, fit = fitted([*rows, *twice, *once, *unknown])
    for position, row in enumerate(fit.rows):
        logits, similarity = said_without(row, made, fit)
        np.testing.assert_allclose(fit.measures.reading.logits[position], logits, atol=2e-3)
        assert fit.measures.reading.similarity[position] == pytest.approx(similarity, abs=2e-3)


def test_a_label_that_no_lesson_is_left_of_is_near_to_nothing(make_rows, monkeypatch):
    monkeypatch.setattr(hashed, "MOST_LESSONS", 1)  # the others were thinned out
    _, fit = fitted(make_rows(60))
    reading = fit.measures.reading
    lesson = np.abs(reading.logits).sum(axis=1).argmin()
    assert reading.similarity[lesson] == 0.0
    np.testing.assert_allclose(reading.logits[lesson], 0.0, atol=1e-3)
    assert reading.similarity.max() > 0.0  # others are held against it


def test_the_same_rows_give_the_same_student(make_rows):
    rows = make_rows(150)
    one, other = fitted(rows)[1], fitted(rows)[1]
    np.testing.assert_array_equal(one.measures.reading.logits, other.measures.reading.logits)


def test_a_label_that_too_few_rows_teach_stays_unknown(make_rows):
    rows = [*make_rows(60), {"text": "once", "answer": "rare"}, {"text": "twice", "answer": "rare"}]
    assert "rare" not in fitted(rows)[1].labels


def test_two_labels_are_needed(make_rows):
    assert fitted([row | {"answer": "lights"} for row in make_rows(30)])[1] is None


def test_many_lessons_are_thinned(make_rows, monkeypatch):
    monkeypatch.setattr(hashed, "MOST_LESSONS", 50)
    _, fit = fitted(make_rows(200))
    assert fit.reader.lessons.dense.shape[0] == 50
    assert len(fit.rows) == 200


def test_rows_outside_the_promise_teach_but_do_not_calibrate(make_rows):
    made = records(make_rows(60))
    direct = [Record(**{**_fields(row), "query_id": f"d-{row.query_id}", "source": Source.DIRECT}) for row in made]
    fit = HashedFitter([row.text for row in made]).fit([*made, *direct])
    assert fit.rows == made


def _fields(record):
    return {name: getattr(record, name) for name in Record.__dataclass_fields__}


@settings(max_examples=30)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_any_text_at_all_has_a_vector_of_length_one_or_none(texts):
    counts = HashedTexts(texts).counts(texts)
    lengths = np.sqrt(np.asarray(Rarity.of(counts).features(counts).power(2).sum(axis=1)).ravel())
    assert all(length == pytest.approx(1.0, abs=1e-4) or length == 0.0 for length in lengths)


def test_a_long_text_counts_by_its_rarest_parts():
    long = " ".join(f"word{number}" for number in range(5000))
    counts = HashedTexts([long]).counts([long])
    assert Rarity.of(counts).features(counts).nnz <= MOST_FEATURES


def test_a_long_text_counts_by_its_end_too():
    told = "be brief and polite " * 400
    counts = HashedTexts(["x"]).counts([f"{told} lamp", f"{told} song", told])
    assert (counts[0] != counts[1]).nnz and (counts[0] != counts[2]).nnz


def test_new_texts_are_read_like_known_ones():
    texts = HashedTexts(["lamp on", "song off"])
    np.testing.assert_array_equal(
        texts.counts(["song off"]).toarray(), HashedTexts(["lamp on"]).counts(["song off"]).toarray()
    )
