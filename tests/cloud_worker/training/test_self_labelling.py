"""Few-shot through the fit: an ensemble labels queries, and the label student learns them too."""

from dataclasses import replace

import pytest
import torch

from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.training.auxiliary_data import AuxiliaryData
from cloud_worker.training.label_students import NO_QUERIES, fit
from cloud_worker.training.self_labelling import self_labelled
from cloud_worker.training.spec import Recipe
from router.core.domain.task import Task
from router.core.learning.training_rows import FOLDS, fold_of

TRAINING = {"steps": 80, "batch": 8, "rate": 1e-2}


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A model that writes, and knows nothing yet."""
    texts = ["please turn the a now could you my", "lamp light bright dark song tune loud album alarm noon hour wake"]
    folder = tmp_path_factory.mktemp("base")
    make_model("llama", word_tokenizer([*texts, "lights music clock is it about"], window=48), Size(window=48)).save(
        folder
    )
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # as a fit does


@pytest.fixture
def rows(record, utterances):
    return [record(position, text, label) for position, (text, label) in enumerate(utterances(60))]


@pytest.fixture
def queries(record, utterances):
    """Without an answer that could be learned; what they mean stands in their rationale."""
    pairs = [(f"now {text}", label) for text, label in utterances(40, seed=2)]
    return tuple(record(1000 + position, text, "?", rationale=label) for position, (text, label) in enumerate(pairs))


@pytest.fixture
def recipe(writer, encoder_folder, tmp_path, queries):
    options = {"patterns": ["{text} is it", "about {text}"], "training": TRAINING}
    task = Task("home", "big", student="encoder-head", recipe="few-shot", base=str(writer), options=options)
    return Recipe(task, str(encoder_folder), tmp_path, auxiliary=AuxiliaryData(queries))


def with_options(recipe, **options):
    return replace(recipe, task=replace(recipe.task, options={**recipe.task.options, **options}))


def quietly(*told):
    pass


def test_an_ensemble_labels_the_queries_softly_and_leaves_those_that_calibrate_alone(rows, recipe, queries):
    found = self_labelled(rows, recipe)
    assert [row.key for row in found] == [row.key for row in queries if fold_of(row, FOLDS) != 0]
    assert sum(row.answer == row.rationale for row in found) / len(found) > 0.8
    assert all(0 > row.log_probabilities[0] > row.log_probabilities[-1] for row in found)


def test_only_the_latest_queries_are_labelled_where_there_are_many(rows, recipe, queries):
    few = with_options(recipe, most=3, training={"steps": 1})
    usable = [row for row in queries if fold_of(row, FOLDS) != 0]
    assert [row.key for row in self_labelled(rows, few)] == [row.key for row in usable[-3:]]


def test_a_student_learns_the_labelled_queries_beside_its_rows_and_is_measured_on_rows_alone(rows, recipe, queries):
    fitted = fit(rows, with_options(recipe, patterns=["{text} is it"], training={"steps": 5}), quietly)
    assert {row.text for row in queries if fold_of(row, FOLDS) != 0} <= set(fitted.golden)
    assert {row.key for row in fitted.rows} <= {row.key for row in rows}
    assert fitted.spec.labels == ("clock", "lights", "music")
    assert fitted.remark == ""


def test_without_queries_the_rows_alone_teach_and_that_is_told(rows, recipe):
    assert fit(rows, replace(recipe, auxiliary=AuxiliaryData()), quietly).remark == NO_QUERIES
