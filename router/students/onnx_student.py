"""Run an exported student, in the same way on a device and in the cloud.

Rules:
 * What the cloud measures is what the device does: the same file, runtime, and one text at a time. (Dynamic int8
   quantisation scales by the batch, so a batch would give other numbers.)
 * One thread, and it does not spin while it waits: a device has better things to do.
 * What a text spells is text: it becomes no token of control (``router.core.domain.plain_text``).
 * A text longer than ``max_tokens`` is read from its beginning, and never kept: the prediction says that it was cut. So
   is one with a long word that the tokenizer gave up.
 * A file is read once, whole; what was checked is what runs. No external data, no custom operators.

Files of a student, both with inputs ``input_ids`` (1, T) int64 and ``attention_mask`` (1, T) int64:
 * ``compact``: the model gives ``logits`` (1, C) and ``similarity`` (1,).
 * ``encoder-head``: the model gives ``embedding`` (1, D), L2-normalised; the head turns ``embedding`` into ``logits``
   (1, C) and ``similarity`` (1,).

``similarity`` is the highest cosine similarity of the embedding to the centroid of a class, in [-1, 1].
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from router.core.arrays import Array
from router.core.domain.label_confidence import Calibration, Reading, score
from router.core.domain.plain_text import PlainText, has_unread, unknown_id
from router.core.domain.prediction import Prediction
from router.core.domain.query import Query
from router.core.domain.task import LABEL_STUDENTS, StudentKind
from router.core.errors import ModelError
from router.core.release.kept_texts import KeptTexts
from router.core.release.manifest import Manifest, StudentSpec
from router.io.library_errors import as_model_error

if TYPE_CHECKING:  # loaded with the first student, as tokenizers is: most commands open none
    import onnxruntime


class OnnxEncoder:
    """Text -> embedding, by a sentence encoder in ONNX."""

    def __init__(self, model: Path, tokenizer: Path, max_tokens: int) -> None:
        """Open the files; texts longer than ``max_tokens`` tokens are cut.

        Raises:
            ModelError: A file is missing, or can't be used.
        """
        self._tokens = Tokens(tokenizer, max_tokens)
        self._session = _Session(model, ("embedding",))
        self.dimensions = len(self.embed("a"))

    @classmethod
    def load(cls, model: Path, tokenizer: Path, max_tokens: int = 64) -> Self:
        """Open an encoder; see the constructor."""
        return cls(model, tokenizer, max_tokens)

    def embed(self, text: str) -> NDArray[np.float32]:
        """The text's embedding, (D,), of length 1."""
        (embedding,) = self._session.run(self._tokens.of(text).inputs)
        return np.asarray(embedding[0], dtype=np.float32)

    def cuts(self, text: str) -> bool:
        """Whether only the beginning of the text is read."""
        return self._tokens.of(text).cut


class Student:
    """A small model that answers with one of its labels, and says how sure it is."""

    def __init__(self, folder: Path, spec: StudentSpec, calibration: Calibration | None = None) -> None:
        """Open the student in ``folder`` and try it once.

        Args:
            folder: Where its files lie.
            spec: How to run it.
            calibration: From signals to score; without one, it reads but does not judge.

        Raises:
            ModelError: A file is missing, can't be used, or does not fit the labels.
        """
        if spec.kind not in LABEL_STUDENTS:
            raise ModelError(f"student kind {spec.kind!r} is not known here; known are {', '.join(LABEL_STUDENTS)}")
        self.spec = spec
        self.calibration = calibration
        self._tokens = Tokens(folder / spec.tokenizer, spec.max_tokens)
        if spec.kind == StudentKind.ENCODER_HEAD:
            self._model = _Session(folder / spec.model, ("embedding",))
            self._head: _Session | None = _Session(folder / spec.head, ("logits", "similarity"))
        else:
            self._model = _Session(folder / spec.model, ("logits", "similarity"))
            self._head = None
        self._keeps = _kept_texts(folder / spec.asked) if spec.asked else None
        self._read_one("a")

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Self:
        """Open the student of a release.

        Raises:
            ModelError: The release has none, or it can't be used.
        """
        if manifest.student is None:
            raise ModelError(f"release {manifest.number} of {manifest.task.name} has no student")
        return cls(folder, manifest.student, manifest.calibration)

    def read(self, texts: Sequence[str]) -> Reading:
        """Logits and similarity of each text.

        Raises:
            ModelError: The runtime failed.
        """
        logits = np.empty((len(texts), len(self.spec.labels)), dtype=np.float64)
        similarity = np.empty(len(texts), dtype=np.float64)
        cut = np.zeros(len(texts), dtype=np.bool_)
        for row, text in enumerate(texts):
            logits[row], similarity[row], cut[row] = self._read_one(text)
        return Reading(logits, similarity, cut)

    def predict(self, query: Query) -> Prediction:
        """The likeliest label of a query's text, with its calibrated score.

        Without a score where the text was cut, or is none of those that may be kept.

        Raises:
            ModelError: The student has no calibration, or the runtime failed.
        """
        if self.calibration is None:
            raise ModelError(f"student {self.spec.version} has no calibration, so its answers have no score")
        logits, similarity, cut = self._read_one(query.text)
        label = self.spec.labels[int(logits.argmax())]
        if cut or (self._keeps is not None and query.text not in self._keeps):
            return Prediction(label, None, logits, cut=cut)
        return Prediction(label, score(self.calibration, logits, similarity), logits)

    def _read_one(self, text: str) -> tuple[Array, float, bool]:
        tokens = self._tokens.of(text)
        outputs = self._model.run(tokens.inputs)
        if self._head is not None:
            outputs = self._head.run({"embedding": outputs[0]})
        logits = np.asarray(outputs[0], dtype=np.float64).reshape(-1)
        if logits.size != len(self.spec.labels):
            raise ModelError(
                f"student {self.spec.version} gives {logits.size} logits for {len(self.spec.labels)} labels"
            )
        return logits, float(np.ravel(outputs[1])[0]), tokens.cut


def _kept_texts(path: Path) -> KeptTexts:
    try:
        return KeptTexts.read(_read(path))
    except ValueError as error:
        raise ModelError(f"{path.name} is no list of texts: {error}") from error


@dataclass(frozen=True, slots=True)
class _Read:
    """What a model takes of one text: ``input_ids`` and ``attention_mask``, each (1, T) with T >= 1.

    Attributes:
        inputs: Both.
        cut: The text goes on beyond them, or a long stretch of it is not in them.
    """

    inputs: dict[str, NDArray[np.int64]]
    cut: bool


class Tokens:
    """Text -> the two inputs that a model takes."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Open the tokenizer at ``path``; texts longer than ``max_tokens`` tokens are cut.

        Raises:
            ModelError: It can't be used.
        """
        if max_tokens < 1:
            raise ModelError(f"max_tokens is {max_tokens}; use 1 or more")
        from tokenizers import Tokenizer

        data = _read(path)
        try:
            self._tokenizer = Tokenizer.from_str(data.decode())
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelError(f"{path.name} is not a tokenizer of the tokenizers library: {error}") from error
        with as_model_error(path.name):
            self._plain = PlainText.of_tokenizer(self._tokenizer)
            self._unknown = unknown_id(self._tokenizer)
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()

    def of(self, text: str) -> _Read:
        """The text as the model takes it."""
        with as_model_error("the tokenizer, on one text,"):
            encoding = self._tokenizer.encode(text)
            ids = encoding.ids  # each look at an encoding makes a list anew
            theirs = itertools.compress(ids, map(operator.not_, encoding.special_tokens_mask))
            if self._plain.spells(text) or not self._plain.ids.isdisjoint(theirs):
                encoding = self._tokenizer.encode(self._plain(text))
                ids = encoding.ids
            has_unknown = self._unknown is not None and self._unknown in ids
            unread = has_unknown and has_unread(ids, encoding.offsets, self._unknown)
            cut = unread or bool(encoding.overflowing)
        read = np.array([ids or [0]], dtype=np.int64)
        return _Read({"input_ids": read, "attention_mask": np.ones(read.shape, np.int64)}, cut)


def session_options() -> onnxruntime.SessionOptions:
    """How a model runs here: in one thread, which does not spin, and to the same numbers on every processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without it, int8 products are added in 16 bits on processors without VNNI, and what does not fit is cut off.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


class _Session:
    """One ONNX file in the runtime, and the outputs that are wanted of it."""

    def __init__(self, path: Path, outputs: tuple[str, ...]) -> None:
        import onnxruntime

        self._name = path.name
        self._outputs = list(outputs)
        data = _read(path)
        try:
            self._session = onnxruntime.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base below it
            raise ModelError(f"{path.name} is not a model that onnxruntime can run: {error}") from error
        given = {output.name for output in self._session.get_outputs()}
        if not given >= set(outputs):
            raise ModelError(f"{path.name} gives {sorted(given)}, and {sorted(outputs)} are needed")

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The wanted outputs, in their order."""
        try:
            return list(self._session.run(self._outputs, inputs))
        except Exception as error:  # as above
            raise ModelError(f"{self._name} failed on an input: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path.name} can't be read: {error.strerror or error}") from error
