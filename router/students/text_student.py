"""A student that writes: its text, and a score from the probabilities of its tokens.

Rules:
 * A device answers with exactly what the cloud measured: the same writer, prompt, defaults and reading of the answer.
 * A student that was taught here reads what it was taught on: a text, or the transcript of a chat. A model at a server
   gets a chat as a chat.
 * Without token probabilities there is no score, and the query escalates; so it does where what was written is no
   whole answer: broken off by the task's own limit or the window, filtered, or empty.
 * What may not leave the device is shown to a server only if that stands on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Self

from router.core.arrays import Array
from router.core.domain.chat import calls_as_text
from router.core.domain.generation import Writer, Written
from router.core.domain.prediction import Prediction
from router.core.domain.prompting import Template, limits_of, prompt_of, split_answer
from router.core.domain.query import FinishReason, Query, Route
from router.core.domain.task import WRITING_STUDENTS, StudentKind
from router.core.errors import ConfigError, ModelError, NotPossibleError
from router.core.policy.text_confidence import TextCalibration, features, text_scores
from router.core.release.manifest import Manifest, StudentSpec
from router.io.extras import advice
from router.students.writers.lazy_writer import LazyWriter
from router.students.writers.local_writer import LocalWriter
from router.students.writers.server_writer import ServedWriter
from router.students.writers.whole_answer import answer_in, flaw_of


def text_kinds_here() -> tuple[str, ...]:
    """The kinds that this installation can run: a model in process needs the extra ``edge-torch``."""
    try:
        for library in ("torch", "transformers", "safetensors"):
            metadata.version(library)
    except metadata.PackageNotFoundError:
        return (StudentKind.SERVED,)
    return WRITING_STUDENTS


class TextStudent:
    """A small model that answers with a text, and says how sure it is."""

    def __init__(
        self, writer: Writer, spec: StudentSpec, calibration: TextCalibration | None = None, *, local_only: bool = False
    ) -> None:
        """Answer with what a writer writes.

        Args:
            writer: The model, opened.
            spec: How to ask it.
            calibration: From signals to score; without one, it reads but does not judge.
            local_only: No query may leave the device.

        Raises:
            ModelError: Its prompt is no template.
        """
        try:
            self._template = Template(spec.prompt)
        except ConfigError as error:
            raise ModelError(f"student {spec.version}: {error}") from error
        self.writer = writer
        self.spec = spec
        self.calibration = calibration
        self._local_only = local_only

    @classmethod
    def load(cls, folder: Path, spec: StudentSpec) -> Self:
        """Open the model in a folder of transformers.

        Raises:
            ModelError: It can't be loaded, or the libraries are missing.
        """
        return cls(LocalWriter.load(folder), spec)

    @classmethod
    def served(cls, spec: StudentSpec, servers: Mapping[str, str]) -> Self:
        """Use the model at one of the servers; nothing is sent to it yet.

        Args:
            spec: Names the model.
            servers: URL by model.

        Raises:
            ModelError: No server is set up for the model.
        """
        url = servers.get(spec.served_model)
        if url is None:
            known = ", ".join(sorted(servers)) or "none"
            raise ModelError(
                f"no server is set up for the model {spec.served_model!r} (set up: {known});"
                f' add [[servers]] with model = "{spec.served_model}" and url = "http://127.0.0.1:8080/v1"'
            )
        try:
            return cls(ServedWriter(url, spec.served_model), spec)
        except ConfigError as error:
            raise ModelError(str(error)) from error

    @classmethod
    def of_release(cls, folder: Path, manifest: Manifest, servers: Mapping[str, str] | None = None) -> Self:
        """Open the student of a release. A model in process is loaded in the background: the first query waits for it.

        Raises:
            ModelError: The release has none that writes, or this installation can't run it.
        """
        spec = manifest.student
        if spec is None or spec.kind not in WRITING_STUDENTS:
            raise ModelError(f"release {manifest.number} of {manifest.task.name} has no student that writes")
        if spec.kind not in text_kinds_here():
            raise ModelError(f"a student of kind {spec.kind!r} needs torch: {advice('edge-torch')}")
        writer = LazyWriter(folder) if spec.kind == StudentKind.GENERATOR else cls.served(spec, servers or {}).writer
        return cls(writer, spec, manifest.text_calibration, local_only=manifest.task.local_only)

    @property
    def in_process(self) -> bool:
        """Whether it computes here, rather than waiting for a server."""
        return self.writer.in_process

    def read(self, query: Query) -> Written:
        """What it writes to a query, the answer taken out of it.

        Raises:
            BadInputError: The query is longer than the model's window, or a limit can't be met.
            ModelError: The model failed.
            NotPossibleError: The query may not leave the device, and the model does not stand on it.
            UnavailableError: The model's server can't be reached now.
        """
        if (self._local_only or query.route is Route.LOCAL_ONLY) and not self.writer.is_private:
            raise NotPossibleError(
                f"the model for task {query.task!r} is not on this device, and this query may not leave"
            )
        prompt = prompt_of(query, self._template)
        if self.spec.kind == StudentKind.GENERATOR:
            prompt = replace(prompt, messages=())
        limits = limits_of(query.limits, self.spec.limits)
        return self._answered(self.writer.write(prompt, limits, query.wanted.top_k))

    def predict(self, query: Query) -> Prediction:
        """Answer a query, with the calibrated score; see ``read`` for what is raised.

        Raises:
            ModelError: The student has no calibration, or the model failed.
        """
        if self.calibration is None:
            raise ModelError(f"student {self.spec.version} has no calibration, so its answers have no score")
        written = self.read(query)
        signals = self.signals_of(query, written)
        score = None if signals is None else float(text_scores(self.calibration, signals[None, :])[0])
        return Prediction(written.text, score, written=written)

    def signals_of(self, query: Query, written: Written) -> Array | None:
        """What the score of an answer is made from, (len(TEXT_SIGNALS),); ``None`` where nothing can be said of it.

        Args:
            query: What was asked. A text that ends at a limit of its own is what it asks for.
            written: What ``read`` gave.
        """
        ends_as_asked = query.limits.max_tokens > 0 and written.finish_reason is FinishReason.LENGTH
        if not written.tokens or (flaw_of(written) and not (ends_as_asked and written.text)):
            return None
        return features(written.tokens)

    def _answered(self, written: Written) -> Written:
        """Calls become the answer's text; what stands before the answer, or is thought, becomes its rationale."""
        written = answer_in(written)
        if written.tool_calls:
            return replace(written, text=calls_as_text(written.tool_calls))
        if not self.spec.answer_after:
            return written
        before, answer = split_answer(written.text, self.spec.answer_after)
        return replace(written, text=answer, rationale=before)
