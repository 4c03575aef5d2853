"""An exported student, as device and cloud run it."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from edge_agent.testing.tiny_releases import TASK, WORDS, empty_release, tiny_release
from router.core.domain.query import Query
from router.core.errors import ModelError, ReleaseError
from router.core.release.kept_texts import KeptTexts
from router.core.release.manifest import Golden
from router.students.loader import check_golden
from router.students.onnx_student import OnnxEncoder, Student


def asked(text):
    return Query("q", "home", text)


@pytest.fixture
def release(tmp_path):
    manifest, files = tiny_release(TASK, 1, WORDS)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path, manifest


def test_a_student_answers_with_the_likeliest_label_and_a_score(release):
    student = Student.load(*release)
    prediction = student.predict(asked("lamp"))
    assert prediction.answer == "lights"
    assert prediction.score > 0.99
    assert prediction.logits.shape == (3,)
    assert student.predict(asked("no such words")).score < 0.01


def test_reading_many_texts_gives_what_reading_each_gives(release):
    student = Student.load(*release)
    texts = ["light", "song song noon", "", "zebra light"]
    reading = student.read(texts)
    assert reading.logits.dtype == reading.similarity.dtype == np.float64
    for row, text in enumerate(texts):
        one = student.read([text])
        assert np.array_equal(one.logits[0], reading.logits[row])
        assert one.similarity[0] == reading.similarity[row]


def test_a_text_longer_than_the_student_reads_is_cut(release):
    folder, manifest = release
    student = Student(folder, replace(manifest.student, max_tokens=2), manifest.calibration)
    assert np.array_equal(student.read(["light light song song song"]).logits, student.read(["light light"]).logits)


def int8_release(folder, wide=64):
    """A student whose int8 products leave 16 bits as soon as two of them are added."""
    table = np.ones((20, wide), np.float32)
    weights = np.stack([np.full(wide, 127), np.full(wide, 100), np.full(wide, -127)], axis=1).astype(np.int8)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0),
        helper.make_node("DynamicQuantizeLinear", ["mean"], ["small", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["small", "weights", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["logits"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["mean", "axis"], ["similarity"], keepdims=0),
    ]
    constants = {"table": table, "weights": weights, "axis": np.array([1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "T"]) for name in ("input_ids", "attention_mask")],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("similarity", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def test_int8_sums_are_exact_whatever_the_processor(release):
    folder, manifest = release
    int8_release(folder)
    reading = Student(folder, manifest.student).read(["light"])
    assert reading.logits[0].tolist() == [64 * 255 * 127, 64 * 255 * 100, 64 * 255 * -127]


def test_without_calibration_a_student_reads_but_does_not_judge(release):
    folder, manifest = release
    student = Student(folder, manifest.student)
    assert student.read(["light"]).logits.shape == (1, 3)
    with pytest.raises(ModelError, match="no calibration"):
        student.predict(asked("light"))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_or_broken_file_is_named(release, name):
    folder, manifest = release
    (folder / name).write_bytes(b"garbage")
    with pytest.raises(ModelError, match=name):
        Student.load(folder, manifest)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} can't be read"):
        Student.load(folder, manifest)


def test_a_model_that_does_not_fit_the_labels_is_refused(release):
    folder, manifest = release
    with pytest.raises(ModelError, match="3 logits for 2 labels"):
        Student(folder, replace(manifest.student, labels=("lights", "music")))


def test_a_student_of_an_unknown_kind_is_refused(release):
    folder, manifest = release
    with pytest.raises(ModelError, match="'parrot' is not known here; known are compact, encoder-head"):
        Student(folder, replace(manifest.student, kind="parrot"))


def test_a_model_without_an_embedding_is_no_encoder(release):
    folder, _ = release
    with pytest.raises(ModelError, match=r"model.onnx gives \['logits', 'similarity'\], and \['embedding'\]"):
        OnnxEncoder.load(folder / "model.onnx", folder / "tokenizer.json", 32)


def test_release_0_has_no_student(tmp_path):
    check_golden(tmp_path, empty_release(TASK))
    with pytest.raises(ModelError, match="has no student"):
        Student.load(tmp_path, empty_release(TASK))


def test_golden_inputs_that_come_out_as_stated_pass(release):
    check_golden(*release)


@pytest.mark.parametrize("line_end", ["\u2028", "\u2029", "\u0085"])
def test_golden_inputs_may_hold_line_ends_of_unicode(release, line_end):
    folder, manifest = release
    (folder / "golden.jsonl").write_text(f'{{"text": "light{line_end}", "answer": "music", "score": 1.0}}\n')
    with pytest.raises(ReleaseError, match="golden input 1 is answered 'lights' here"):
        check_golden(folder, manifest)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "light", "answer": "music", "score": 1.0}', "golden input 1 is answered 'lights' here"),
        ('{"text": "light", "answer": "lights", "score": 0.9}', "golden input 1 scores"),
        ('{"text": "light", "answer": "lights", "score": NaN}', "golden input 1 scores"),
        ('{"text": "light"}', "can't be read"),
        ("", "are empty"),
    ],
)
def test_golden_inputs_that_come_out_otherwise_refuse_the_release(release, line, problem):
    folder, manifest = release
    (folder / "golden.jsonl").write_text(line)
    with pytest.raises(ReleaseError, match=problem):
        check_golden(folder, manifest)


def test_a_student_without_golden_inputs_is_refused(release):
    folder, manifest = release
    with pytest.raises(ReleaseError, match="no golden inputs"):
        check_golden(folder, replace(manifest, golden=None))
    with pytest.raises(ReleaseError, match="can't be read"):
        check_golden(folder, replace(manifest, golden=Golden("elsewhere.jsonl", 0.1)))


def test_a_release_whose_task_takes_none_of_its_golden_inputs_is_refused(release):
    folder, manifest = release
    check_golden(folder, replace(manifest, task=replace(TASK, max_text_bytes=len("lamp"))))  # "light" is longer
    with pytest.raises(ReleaseError, match=r"inputs of 3 bytes at most, and the shortest golden input has 4"):
        check_golden(folder, replace(manifest, task=replace(TASK, max_text_bytes=3)))


def test_of_a_text_that_it_may_not_keep_a_student_says_nothing(release):
    folder, manifest = release
    (folder / "asked.bin").write_bytes(KeptTexts.of(["lamp", "light song"]).to_bytes())
    student = Student(folder, replace(manifest.student, asked="asked.bin"), manifest.calibration)
    assert student.predict(asked("lamp")).score > 0.99
    assert student.predict(asked("Light, SONG")).score is not None
    other = student.predict(asked("light"))
    assert (other.answer, other.score, other.cut) == ("lights", None, False)
    (folder / "asked.bin").write_bytes(b"spoilt")
    with pytest.raises(ModelError, match=r"asked.bin is no list of texts"):
        Student(folder, replace(manifest.student, asked="asked.bin"), manifest.calibration)


def test_a_text_that_was_cut_has_no_score_and_says_so(release):
    folder, manifest = release
    student = Student(folder, replace(manifest.student, max_tokens=2), manifest.calibration)
    whole, cut = student.predict(asked("light light")), student.predict(asked("light light song"))
    assert (whole.cut, whole.score > 0.99) == (False, True)
    assert (cut.answer, cut.score, cut.cut) == ("lights", None, True)
    assert student.read(["light light", "light light song"]).cut.tolist() == [False, True]


def test_what_ends_a_template_counts_as_read(release):
    """The tokens that a tokenizer puts around a text take room, so one word less fits."""
    folder, manifest = release
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text())
    tokenizer.post_processor = TemplateProcessing(single="light $A light", special_tokens=[("light", 1)])
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    student = Student(folder, replace(manifest.student, max_tokens=4), manifest.calibration)
    assert [student.predict(asked(text)).cut for text in ("lamp lamp", "lamp lamp lamp")] == [False, True]
