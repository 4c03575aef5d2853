"""Run an exported student, the same way on a device and in the cloud.

Rules:
 * One text at a time: dynamic int8 quantisation makes a row's figures depend on its batch.
 * One thread, no spinning: a device has other work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from router.confidence import Array, Calibration, scores
from router.errors import ModelError, ReleaseError
from router.release import Manifest


@dataclass(frozen=True, slots=True)
class Reading:
    """What a student says of some texts: logits (rows, labels), highest similarity to a label (rows,)."""

    logits: Array
    similarity: Array


@dataclass(frozen=True, slots=True)
class Judgement:
    """A student's answer: the label, its score in [0, 1], the logits (labels,)."""

    label: str
    score: float
    logits: Array


class OnnxModel:
    """An ONNX model that reads tokens. ``tokenizer`` and ``model`` are files."""

    def __init__(self, model: Path, tokenizer: Path, max_tokens: int) -> None:
        """Load both.

        Raises:
            ModelError: Names the file that can't be used.
        """
        self._session = open_session(model)
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:
            raise ModelError(f"{tokenizer.name} is not a tokenizer file: {error}") from error
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()

    def run(self, text: str) -> list[NDArray[np.float32]]:
        """The model's outputs for one text."""
        encoding = self._tokenizer.encode(text)
        outputs = self._session.run(
            None,
            {
                "input_ids": np.array([encoding.ids], np.int64),
                "attention_mask": np.array([encoding.attention_mask], np.int64),
            },
        )
        return list(outputs)

    def embed(self, text: str) -> NDArray[np.float32]:
        """The first output for one text: (dimensions,)."""
        return np.asarray(self.run(text)[0][0], np.float32)


class Student:
    """A student as a release carries it."""

    def __init__(
        self,
        labels: Sequence[str],
        model: OnnxModel,
        head: onnxruntime.InferenceSession | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Put the parts together; ``head`` reads the model's embedding, where there is one."""
        self.labels = tuple(labels)
        self._model = model
        self._head = head
        self._calibration = calibration

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Student:
        """The student that a release's folder holds.

        Raises:
            ModelError: A file can't be used, or the logits do not fit the labels.
        """
        spec = manifest.student
        if spec is None:
            raise ModelError(f"release {manifest.number} has no student")
        model = OnnxModel(folder / spec.model, folder / spec.tokenizer, spec.max_tokens)
        head = open_session(folder / spec.head) if spec.head else None
        student = cls(spec.labels, model, head, manifest.calibration)
        found = student.read(["a"]).logits.shape[-1]
        if found != len(spec.labels):
            raise ModelError(f"{spec.model} gives {found} logits for {len(spec.labels)} labels")
        return student

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text, one text at a time."""
        rows = [self._read_one(text) for text in texts]
        if not rows:
            return Reading(np.zeros((0, len(self.labels))), np.zeros(0))
        return Reading(np.stack([row[0] for row in rows]), np.array([row[1] for row in rows]))

    def judge(self, text: str) -> Judgement:
        """Answer one text.

        Raises:
            ModelError: The student carries no calibration.
        """
        if self._calibration is None:
            raise ModelError("this student carries no calibration")
        logits, similarity = self._read_one(text)
        score = scores(self._calibration, logits[None], np.array([similarity]))[0]
        return Judgement(self.labels[int(logits.argmax())], float(score), logits)

    def _read_one(self, text: str) -> tuple[Array, float]:
        outputs = self._model.run(text)
        if self._head is not None:
            outputs = self._head.run(None, {"embedding": outputs[0]})
        return np.asarray(outputs[0][0], np.float64), float(np.ravel(outputs[1])[0])


def open_session(model: Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session with one thread that does not spin.

    Raises:
        ModelError: Not an ONNX file that can be run here.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{model.name} can't be run: {error}") from error


def check_golden(folder: Path, manifest: Manifest, student: Student) -> None:
    """Check that the student answers the golden inputs here as it did in the cloud.

    Raises:
        ReleaseError: An answer differs, or a score is further off than the tolerance.
    """
    if manifest.golden is None:
        return
    for line in (folder / manifest.golden.file).read_text(encoding="utf-8").splitlines():
        golden = json.loads(line)
        judgement = student.judge(golden["text"])
        distance = abs(judgement.score - golden["score"])
        if judgement.label != golden["label"] or distance > manifest.golden.tolerance:
            raise ReleaseError(
                f"golden input {golden['text']!r}: {judgement.label} at {judgement.score:.3f} here, "
                f"{golden['label']} at {golden['score']:.3f} in the cloud"
            )
