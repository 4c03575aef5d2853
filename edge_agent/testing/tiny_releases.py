"""Releases for tests, whose students know single words: built in milliseconds, run as any other."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from router.core.domain.label_confidence import Calibration
from router.core.domain.query import GenerationLimits
from router.core.domain.task import StudentKind, Task
from router.core.policy.deferral import Policy
from router.core.policy.text_confidence import TEXT_SIGNALS, TextCalibration
from router.core.release.kept_texts import KeptTexts
from router.core.release.manifest import File, Golden, Manifest, StudentSpec, digest
from router.students.writers.testing import tiny_writer_files

TASK = Task("home", reference="simulated")
TEXT_LIMITS = GenerationLimits(max_tokens=8)
WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock"}


def empty_release(task: Task) -> Manifest:
    """Release 0: no student, everything escalates."""
    return Manifest(task, 0, 0.0, Policy(2.0))


def tiny_release(
    task: Task,
    number: int,
    words: dict[str, str],
    *,
    threshold: float = 0.5,
    padding: int = 0,
    asked: Iterable[str] | None = None,
) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student knows single words and nothing else.

    Args:
        task: What it serves.
        number: Its number.
        words: Label by word. A text of known words of one label scores close to 1, any other close to 0.
        threshold: Least score kept.
        padding: Bytes of a further file, to make the release take time.
        asked: The texts that it may keep, ``None`` for any.
    """
    labels = tuple(sorted(set(words.values())))
    vocabulary = ("[UNK]", *sorted(words))
    files = {"model.onnx": _tiny_model(vocabulary, words, labels), "tokenizer.json": _tiny_tokenizer(vocabulary)}
    golden = sorted(words if asked is None else {*words} & {*asked})
    files["golden.jsonl"] = _lines({"text": word, "answer": words[word], "score": 1.0} for word in golden)
    if padding:
        files["padding.bin"] = number.to_bytes(4, "big") * (padding // 4)
    if asked is not None:
        files["asked.bin"] = KeptTexts.of(asked).to_bytes()
    spec = StudentSpec(StudentKind.COMPACT, "model.onnx", "tokenizer.json", labels, 32, f"tiny-{number}")
    manifest = Manifest(
        task=task,
        number=number,
        created_at=0.0,
        policy=Policy(threshold, number),
        student=spec if asked is None else replace(spec, asked="asked.bin"),
        # From the probability alone: 0.9 is the middle, and each 0.05 counts once.
        calibration=Calibration(1.0, (0.9, 0.0, 0.0, 0.0), (0.01, 1.0, 1.0, 1.0), (1.0, 0.0, 0.0, 0.0), 0.0),
        golden=Golden("golden.jsonl", 0.01),
        files={name: File(len(data), digest(data)) for name, data in files.items()},
    )
    return manifest, files


def tiny_text_release(
    task: Task, number: int, words: dict[str, str], *, threshold: float = 0.5, limits: GenerationLimits = TEXT_LIMITS
) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student writes on from the last word of what it reads; see ``tiny_writer_files``.

    Args:
        task: What it serves.
        number: Its number.
        words: What follows each word. A text that ends in one of them scores close to 1, any other close to 0.
        threshold: Least score kept.
        limits: Of an answer, where the query names none.
    """
    files = tiny_writer_files(words)
    files["golden.jsonl"] = _lines({"text": word, "answer": words[word], "score": 1.0} for word in sorted(words))
    spec = StudentSpec(
        StudentKind.GENERATOR, "model.safetensors", "tokenizer.json", (), 0, f"tiny-{number}", limits=limits
    )
    return _text_manifest(task, number, threshold, spec, files), files


def served_release(
    task: Task, number: int, model: str, golden: dict[str, str], *, threshold: float = 0.5
) -> tuple[Manifest, dict[str, bytes]]:
    """A release whose student is a model at the device's own server.

    Args:
        task: What it serves.
        number: Its number.
        model: As the server calls it.
        golden: The server's answer to some texts, each of a score close to 1.
        threshold: Least score kept.
    """
    files = {"golden.jsonl": _lines({"text": text, "answer": golden[text], "score": 1.0} for text in golden)}
    spec = StudentSpec(StudentKind.SERVED, "", "", (), 0, f"served-{number}", limits=TEXT_LIMITS, served_model=model)
    return _text_manifest(task, number, threshold, spec, files), files


def _text_manifest(task: Task, number: int, threshold: float, spec: StudentSpec, files: dict[str, bytes]) -> Manifest:
    # From the mean alone, as log-odds: 2 is the middle. A token of probability 0.999 is 7, one of 0.3 is -1.
    others = len(TEXT_SIGNALS) - 1
    calibration = TextCalibration((2.0, *[0.0] * others), (1.0,) * (others + 1), (2.0, *[0.0] * others), 0.0)
    return Manifest(
        task=task,
        number=number,
        created_at=0.0,
        policy=Policy(threshold, number),
        student=spec,
        text_calibration=calibration,
        golden=Golden("golden.jsonl", 0.02),
        files={name: File(len(data), digest(data)) for name, data in files.items()},
    )


def _tiny_tokenizer(vocabulary: tuple[str, ...]) -> bytes:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: position for position, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer.to_str().encode()


def _tiny_model(vocabulary: tuple[str, ...], words: dict[str, str], labels: tuple[str, ...]) -> bytes:
    """Token ids -> rows of a table -> their mean -> logits. The table holds 1 at the word's label."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    table = np.zeros((len(vocabulary), len(labels)), dtype=np.float32)
    for position, word in enumerate(vocabulary[1:], start=1):
        table[position, labels.index(words[word])] = 1.0
    weights = 12 * np.eye(len(labels), dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),  # (1, T, labels)
        helper.make_node("ReduceMean", ["rows", "over_tokens"], ["mean"], keepdims=0),  # (1, labels)
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("ReduceMax", ["mean", "over_labels"], ["similarity"], keepdims=0),  # (1,)
    ]
    axes = np.array([1], dtype=np.int64)
    constants: dict[str, Any] = {"table": table, "weights": weights, "over_tokens": axes, "over_labels": axes}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "T"]) for name in ("input_ids", "attention_mask")],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(labels)]),
            helper.make_tensor_value_info("similarity", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    for row in rows:
        stream.write(json.dumps(row) + "\n")
    return stream.getvalue().encode()
