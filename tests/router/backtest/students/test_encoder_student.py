import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from cloud_worker.training.label_students import Head
from router.backtest.students.encoder_student import EncoderFitter, LinearHead
from router.core.domain.record import Record
from router.core.errors import ConfigError, ModelError
from router.core.learning.training_rows import Lessons

WIDTH = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory, utterances):
    """An encoder that gives the mean of its words' vectors, at length 1."""
    folder = tmp_path_factory.mktemp("encoder")
    words = sorted({word for row in utterances(300) for word in row["text"].split()})
    backend = Tokenizer(models.WordLevel({"?": 0} | {word: position for position, word in enumerate(words, 1)}, "?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(words) + 1, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("ReduceMean", ["words", "axis"], ["mean"], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], ["embedding"], axis=-1, p=2),
    ]
    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, "t"]) for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        tokens,
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    return folder


def records(rows):
    return [
        Record(
            "device-1", f"q-{position:06d}", "log", "log", "backtest", 1, position, position, row["text"], row["answer"]
        )
        for position, row in enumerate(rows)
    ]


def test_a_student_with_an_encoder_learns(folder, tmp_path, make_rows):
    rows = make_rows(300)
    fit = EncoderFitter(folder, tmp_path, [row["text"] for row in rows]).fit(records(rows[:200]))
    reading = fit.reader.read([row["text"] for row in rows[200:]])
    said = [fit.labels[position] for position in reading.logits.argmax(axis=1)]
    assert np.mean([one == row["answer"] for one, row in zip(said, rows[200:], strict=True)]) > 0.9
    assert np.mean([one == row.answer for one, row in zip(fit.measures.answers, fit.rows, strict=True)]) > 0.85


def test_texts_are_read_once_ever(folder, tmp_path, make_rows):
    texts = [row["text"] for row in make_rows(50)]
    EncoderFitter(folder, tmp_path, texts)
    told = []
    EncoderFitter(folder, tmp_path, texts, told.append)
    assert told == [1.0]


def test_the_head_is_the_one_of_real_students():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(90, 6)).astype(np.float32)
    targets = random.dirichlet([0.3] * 4, size=90).astype(np.float32)
    texts = tuple(f"text {position}" for position in range(90))
    lessons = Lessons(("a", "b", "c", "d"), texts, targets)
    torch.manual_seed(0)
    real = Head.fitted(lessons, dict(zip(texts, vectors, strict=True)))
    ours = LinearHead.fitted(lessons, vectors)
    logits, similarity = real.read(vectors)
    reading = ours.read(vectors)
    centred = [array - array.mean(axis=1, keepdims=True) for array in (reading.logits, logits)]
    np.testing.assert_allclose(*centred, atol=0.02)
    np.testing.assert_allclose(reading.similarity, similarity, atol=1e-5)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model\.onnx can't be read.*or minilm"):
        EncoderFitter(tmp_path, tmp_path, ["a"])


def test_a_cache_that_cannot_be_written_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--cache"):
        EncoderFitter(folder, tmp_path / "file", ["a"])
