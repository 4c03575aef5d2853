"""A teacher that writes in the copy's own process: a transformers model, by name or folder.

Rules:
 * It answers greedily unless the limits name a temperature: a reference must repeat itself.
 * Plain questions are written together, those of like length and like limits; a chat, tools, stops or a temperature are
   written one at a time. Both ways give the same text, up to rounding.
 * A question that can't be answered never keeps those beside it from their answers.

The continuous batching of transformers 5.23 is not used: it pages its cache for accelerators, and on a processor took
76 s for three answers that ``generate`` gives in 0.2 s. For GPUs there is the kind ``vllm``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from cloud_worker.language.answering import write
from cloud_worker.language.batching import encode_prompt
from cloud_worker.teachers.base import NotNow, Question, Reply
from cloud_worker.teachers.versions import digest_of_model, version_of
from cloud_worker.teachers.wording import Wording
from cloud_worker.teachers.writing import WritingTeacher, answer_of
from router.errors import BadInputError
from router.query import GenerationLimits
from router.writers.base import DEFAULT_TOKENS
from router.writers.loading import LanguageModel, load_language
from router.writers.local import LocalWriter

_TOGETHER = 16  # most questions that are written together
_LENGTHS = 32  # tokens of a bucket: what is written together is padded by less than this


class GeneratingTeacher(WritingTeacher):
    """Answers with what a language model writes."""

    def __init__(self, name: str, language: LanguageModel, version: str, wording: Wording) -> None:
        """Write with a model that is loaded.

        Raises:
            ModelError: The model has a label head.
        """
        super().__init__(name, LocalWriter(language), wording, lambda: version)
        self._language = language

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        """Write the answers, those that can be together first; they come in the order of the questions."""
        found: dict[int, Reply | NotNow] = {}
        for places, most in self._batches(questions):
            found |= zip(places, self._write_together([questions[place] for place in places], most), strict=True)
        for place, question in enumerate(questions):
            yield found[place] if place in found else self.answer_one(question)

    def _batches(self, questions: Sequence[Question]) -> Iterator[tuple[list[int], int]]:
        """Places of questions to write together, and their limit in tokens."""
        buckets = [
            (*self._bucket(question), place) for place, question in enumerate(questions) if self._is_plain(question)
        ]
        for (most, _, fits), group in groupby(sorted(buckets), key=lambda bucket: bucket[:3]):
            places = [bucket[3] for bucket in group] if fits else []
            for start in range(0, len(places), _TOGETHER):
                yield places[start : start + _TOGETHER], most

    def _bucket(self, question: Question) -> tuple[int, int, bool]:
        """Limit in tokens, length of the prompt in steps, and whether both fit into the window."""
        most = question.limits.max_tokens or DEFAULT_TOKENS
        try:
            ids = encode_prompt(self._language, self._wording.prompt_of(question).text, most)
        except BadInputError:  # alone it may still be answered, or refused with its reason
            return most, 0, False
        return most, len(ids) // _LENGTHS, True

    def _write_together(self, questions: Sequence[Question], most: int) -> list[Reply]:
        began = time.perf_counter()
        prompts = [self._wording.prompt_of(question).text for question in questions]
        written = write(self._language, prompts, most, max(question.wanted.top_k for question in questions))
        milliseconds = (time.perf_counter() - began) * 1000 / len(questions)
        return [
            replace(answer_of(question, text, self._wording, self.version), milliseconds=milliseconds)
            for question, text in zip(questions, written, strict=True)
        ]

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
    language = load_language(model)
    version = version_of("generating", digest_of_model(model), repr(wording), "greedy")
    return GeneratingTeacher(name, language, version, wording)


def _only_tokens(limits: GenerationLimits) -> GenerationLimits:
    return GenerationLimits(limits.max_tokens, limits.temperature, (), limits.seed)
