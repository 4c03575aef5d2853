"""A teacher that writes in the replica's own process: a transformers model, by name or folder.

Rules:
 * It answers greedily unless the limits name a temperature: a reference must repeat itself.
 * A text is read as one turn of a chat where the model has a chat template, as servers read it.
 * Plain questions are written together, those of like length and like limits; a chat, tools, stops or a temperature are
   written one at a time. Both ways give the same text, up to rounding.
 * A question that can't be answered never keeps those beside it from their answers.

The continuous batching of transformers 5.23 is not used: it pages its cache for accelerators, and on a processor took
76 s for three answers that ``generate`` gives in 0.2 s. For GPUs there is the kind ``vllm``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cloud_worker.language.generation import write_ids
from cloud_worker.teachers.base import NotNow, Question, Reply
from cloud_worker.teachers.prompts import Wording
from cloud_worker.teachers.remote_teacher import WritingTeacher, answer_of
from cloud_worker.teachers.versions import digest_of_model, version_of
from router.core.domain.generation import DEFAULT_TOKENS, Prompt, Written
from router.core.domain.prompting import as_conversation
from router.core.domain.query import GenerationLimits
from router.core.errors import BadInputError, ModelError
from router.students.writers.local_writer import LocalWriter, most_tokens, prompt_ids
from router.students.writers.transformers_loader import LanguageModel, fastest_device, load_language

log = logging.getLogger(__name__)

_FORM = "greedy, a text as one turn"  # of what is asked; part of the version
_TOGETHER = 16  # most questions that are written together
_LENGTHS = 32  # tokens of a bucket: what is written together is padded by less than this


@dataclass(frozen=True, slots=True)
class _Plain:
    """A question that may be written together with others.

    Attributes:
        position: Among the questions.
        ids: Tokens that are read.
        most: New tokens.
    """

    position: int
    ids: list[int]
    most: int


class _Conversing(LocalWriter):
    """Reads a text as a conversation of one turn, as servers do; without a chat template it stays a text."""

    def write(self, prompt: Prompt, limits: GenerationLimits = GenerationLimits(), top_k: int = 0) -> Written:
        """Answer one prompt; see ``router.core.domain.generation.Writer``."""
        return super().write(as_conversation(prompt), limits, top_k)


class GeneratingTeacher(WritingTeacher):
    """Answers with what a language model writes."""

    def __init__(self, name: str, language: LanguageModel, version: str, wording: Wording) -> None:
        """Write with a model that is loaded.

        Raises:
            ModelError: The model has a label head.
        """
        super().__init__(name, _Conversing(language), wording, lambda: version)
        self._language = language

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        """Write the answers in the order of the questions; a batch is written when the first of it is due."""
        batches = {plain.position: batch for batch in self._batches(questions) for plain in batch}
        found: dict[int, Reply | NotNow] = {}
        for position, question in enumerate(questions):
            if position in batches and position not in found:
                found |= self._write_together(questions, batches[position])
            yield found[position] if position in found else self.answer_one(question)

    def _batches(self, questions: Sequence[Question]) -> Iterator[list[_Plain]]:
        """Questions to write together."""
        plain = [
            self._plain(position, question) for position, question in enumerate(questions) if self._is_plain(question)
        ]
        fitting = sorted((one for one in plain if one is not None), key=_bucket)
        for _, group in groupby(fitting, key=_bucket):
            bucket = list(group)
            for start in range(0, len(bucket), _TOGETHER):
                yield bucket[start : start + _TOGETHER]

    def _plain(self, position: int, question: Question) -> _Plain | None:
        """What is read of a question, ``None`` if it does not leave room: alone it may be answered, or is refused."""
        asked = question.limits.max_tokens or DEFAULT_TOKENS
        try:
            ids = prompt_ids(self._language.tokenizer, as_conversation(self._wording.prompt_of(question)))
        except BadInputError:
            return None
        fits = len(ids) <= self._language.window and most_tokens(self._language, asked, len(ids)) == asked
        return _Plain(position, ids, asked) if fits else None

    def _write_together(self, questions: Sequence[Question], batch: Sequence[_Plain]) -> dict[int, Reply | NotNow]:
        began = time.perf_counter()
        asked = [questions[plain.position] for plain in batch]
        top_k = max(question.wanted.top_k for question in asked)
        try:
            written = write_ids(self._language, [plain.ids for plain in batch], batch[0].most, top_k)
        except ModelError as error:  # one of them may be at fault: the others have their answers alone
            log.warning("teacher %s writes %d questions one by one: %s", self.name, len(batch), error)
            return {plain.position: self.answer_one(question) for plain, question in zip(batch, asked, strict=True)}
        milliseconds = (time.perf_counter() - began) * 1000 / len(batch)
        answers = [answer_of(*pair, self._wording, self.version) for pair in zip(asked, written, strict=True)]
        return {
            plain.position: replace(answer, milliseconds=milliseconds)
            for plain, answer in zip(batch, answers, strict=True)
        }

    def _is_plain(self, question: Question) -> bool:
        limits = question.limits
        asks_more = question.messages or question.tools or question.response_schema
        apart = self._wording.reason_prompt(question) is not None
        return not asks_more and not apart and not limits.temperature and limits == _only_tokens(limits)


def load_generating_teacher(name: str, model: str, wording: Wording) -> GeneratingTeacher:
    """The teacher, its model loaded.

    Raises:
        ModelError: It can't be loaded, or does not fit its tokenizer.
    """
    language = load_language(model, device=fastest_device())
    version = version_of("generating", digest_of_model(model), repr(wording), _FORM)
    return GeneratingTeacher(name, language, version, wording)


def _bucket(plain: _Plain) -> tuple[int, int]:
    """What questions that are written together have in common: the limit, and the length in steps."""
    return plain.most, len(plain.ids) // _LENGTHS


def _only_tokens(limits: GenerationLimits) -> GenerationLimits:
    return GenerationLimits(limits.max_tokens, limits.temperature, (), limits.seed)
