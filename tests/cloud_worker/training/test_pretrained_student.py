"""Label students that start from a pretrained model, whole or truncated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.training import compact_student, pretrained_student
from cloud_worker.training.label_students import fit, targets_of
from cloud_worker.training.spec import Recipe
from router.core.domain.task import Task
from router.core.errors import ModelError
from router.core.learning.training_rows import known_labels, lessons_of
from router.students.onnx_student import Student

TRAINING = {"steps": 60, "batch": 16, "rate": 5e-3}
TASK = Task("home", reference="big", student="compact", options={"layers": 2, "training": TRAINING})


@pytest.fixture
def base(tmp_path, utterances):
    """Makes a pretrained model's folder: three layers, no head."""

    def make(family):
        tokenizer = word_tokenizer([text for text, _ in utterances(60)], window=32)
        language = make_model(family, tokenizer, Size(layers=3, window=32), ("any",))
        language.model.base_model.save_pretrained(tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        return replace(TASK, base=str(tmp_path / family))

    return make


@pytest.fixture
def rows(record, utterances):
    return [record(position, text, label) for position, (text, label) in enumerate(utterances(150))]


@pytest.fixture
def lessons(rows):
    return lessons_of(rows, known_labels(rows))


def quietly(*told):
    pass


def right(logits, labels, pairs):
    return np.mean([labels[position] == label for position, (_, label) in zip(logits.argmax(1), pairs, strict=True)])


def test_a_truncated_encoder_becomes_a_student_that_a_device_opens(base, rows, utterances, tmp_path):
    fitted = fit(rows, Recipe(base("modernbert"), "", tmp_path), quietly)
    assert (fitted.spec.kind, fitted.spec.max_tokens) == ("compact", 32)
    for name, content in fitted.files.items():
        (tmp_path / name).write_bytes(content)
    unseen = utterances(60, seed=1)
    reading = Student(tmp_path, fitted.spec).read([text for text, _ in unseen])
    assert right(reading.logits, fitted.spec.labels, unseen) > 0.9
    assert (np.abs(reading.similarity) <= 1.001).all()


def test_layers_are_kept_from_the_first_and_the_rest_is_dropped(base, lessons):
    few = {"layers": 1, "training": {"steps": 1}}
    student, _ = pretrained_student.teach(lessons, replace(base("bert"), options=few), 0, quietly)
    whole, _ = pretrained_student.teach(lessons, replace(base("bert"), options={"training": {"steps": 1}}), 0, quietly)
    assert (student.model.config.num_hidden_layers, whole.model.config.num_hidden_layers) == (1, 3)


def test_soft_and_hard_labels_teach_different_students(base, lessons):
    unsure = replace(lessons, targets=np.tile(np.float32([[0.2, 0.5, 0.3]]), (len(lessons.texts), 1)))
    said = {}
    for recipe in ("soft-labels", "hard-labels"):
        task = replace(base("bert"), recipe=recipe)
        student, tokenizer = pretrained_student.teach(targets_of(unsure, task), task, 0, quietly)
        logits, _ = student(*compact_student.padded(compact_student.tokenized(tokenizer, lessons.texts[:1])))
        said[recipe] = torch.softmax(logits[0], -1).tolist()
    assert said["soft-labels"] == pytest.approx([0.2, 0.5, 0.3], abs=0.05)
    assert said["hard-labels"][1] > 0.95


def test_adapters_of_low_rank_teach_it_too(base, lessons, utterances):
    task = replace(base("bert"), options={"training": {**TRAINING, "steps": 120, "rank": 4}})
    student, tokenizer = pretrained_student.teach(lessons, task, 0, quietly)
    logits, _ = student(
        *compact_student.padded(compact_student.tokenized(tokenizer, [text for text, _ in utterances(60)]))
    )
    assert right(logits.detach().numpy(), lessons.labels, utterances(60)) > 0.6


def test_a_long_text_is_cut_in_training_where_a_device_cuts_it(base, lessons):
    long = replace(lessons, texts=(" ".join(["the"] * 100), *lessons.texts[1:]))
    student, tokenizer = pretrained_student.teach(
        long, replace(base("bert"), options={"training": {"steps": 1}}), 0, quietly
    )
    assert student.max_tokens == 32
    assert len(tokenizer(pretrained_student.cut(tokenizer, long.texts[:1], 32)[0])["input_ids"]) <= 32


def test_too_many_layers_are_named(base, lessons):
    with pytest.raises(ModelError, match="no 9 layers"):
        pretrained_student.teach(lessons, replace(base("bert"), options={"layers": 9}), 0, quietly)
