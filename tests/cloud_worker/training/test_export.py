import numpy as np
import onnx
import pytest
import torch

from cloud_worker.language.encoder import load_encoder
from cloud_worker.training import export
from cloud_worker.training.compact_student import LAYERS, WIDTH, CompactStudent, OneText, padded, tokenized
from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, export_compact, head_model
from router.core.release.manifest import StudentSpec
from router.students.onnx_student import Student

LABELS = ("clock", "lights", "music")
TEXTS = ["lamp", "turn the light now please", "song", "could you wake my alarm", "a dark album"]
SPEC = StudentSpec("compact", MODEL_FILE, TOKENIZER_FILE, LABELS, 64, "one")


@pytest.fixture(scope="module")
def tokenizer(encoder_folder):
    return load_encoder(str(encoder_folder)).tokenizer


@pytest.fixture(scope="module")
def student(tokenizer):
    torch.manual_seed(0)
    student = CompactStudent(torch.randn(len(tokenizer), WIDTH), len(LABELS))
    student.centroids.copy_(torch.nn.functional.normalize(torch.randn(len(LABELS), WIDTH), dim=-1))
    return student.eval()


@pytest.fixture(scope="module")
def exported(student, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for name, data in export_compact(student, SPEC, tokenizer, TEXTS).items():
        (folder / name).write_bytes(data)
    return folder


def test_the_exported_student_answers_as_the_trained_one(student, tokenizer, exported):
    with torch.inference_mode():
        logits, similarity = student(*padded(tokenized(tokenizer, TEXTS)))
    reading = Student(exported, SPEC).read(TEXTS)
    assert reading.logits.argmax(axis=1).tolist() == logits.argmax(dim=1).tolist()
    np.testing.assert_allclose(reading.logits, logits, atol=0.15)
    np.testing.assert_allclose(reading.similarity, similarity, atol=0.05)


def test_a_student_of_one_text_says_what_the_student_says(student, tokenizer):
    for ids in tokenized(tokenizer, [*TEXTS, "", "lamp " * 200]):
        one = padded([ids])
        with torch.inference_mode():
            logits, similarity = student(*one)
            lean_logits, lean_similarity = OneText(student)(*one)
        torch.testing.assert_close(lean_logits, logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(lean_similarity, similarity, rtol=1e-5, atol=1e-5)


def test_a_compact_student_has_no_node_for_padding(exported):
    operators = [node.op_type for node in onnx.load(exported / MODEL_FILE).graph.node]
    assert operators.count("Softmax") == LAYERS
    assert not {"ReduceSum", "Sub", "Squeeze", "Unsqueeze"} & set(operators)


def test_the_exported_file_stands_alone(exported):
    model = onnx.load(exported / MODEL_FILE, load_external_data=False)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert {opset.domain for opset in model.opset_import} <= {"", "ai.onnx", "com.microsoft"}
    assert [put.name for put in model.graph.input] == ["input_ids", "attention_mask"]
    assert [put.name for put in model.graph.output] == ["logits", "similarity"]


def test_the_longest_and_the_shortest_text_can_be_read(exported):
    reading = Student(exported, SPEC).read(["", "lamp", "lamp " * 200])
    assert np.isfinite(reading.logits).all()


def test_int8_that_answers_otherwise_is_not_shipped(student, tokenizer, monkeypatch):
    monkeypatch.setattr(export, "_answer_alike", lambda *_: 1.0)
    small = export_compact(student, SPEC, tokenizer, TEXTS)
    monkeypatch.setattr(export, "_answer_alike", lambda *_: 0.98)
    full = export_compact(student, SPEC, tokenizer, TEXTS)
    assert len(full[MODEL_FILE]) > 2 * len(small[MODEL_FILE])
    assert full[TOKENIZER_FILE] == small[TOKENIZER_FILE]


def test_a_head_in_onnx_says_what_its_numbers_say():
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(4, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)
    centroids = random.normal(size=(3, 4)).astype(np.float32)
    embedding = random.normal(size=(1, 4)).astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(head_model(weights, bias, centroids))
    logits, similarity = session.run(["logits", "similarity"], {"embedding": embedding})
    np.testing.assert_allclose(logits, embedding @ weights + bias, rtol=1e-5)
    np.testing.assert_allclose(similarity, (embedding @ centroids.T).max(axis=1), rtol=1e-5)
