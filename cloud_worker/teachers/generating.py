"""A teacher that writes: a transformers model, loaded by name or folder.

Rules:
 * It answers greedily unless the caller names a temperature: a reference must repeat itself.
 * Plain questions are written together; a chat, tools, stops or a temperature are written one at a time. Both ways give
   the same text, up to rounding.
 * A reason comes in the same text as the answer; one that can't be read is left out, and counted, never the answer.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_worker.language.answering import write
from cloud_worker.language.rationales import ANSWER_PHRASE
from cloud_worker.teachers.base import NoAnswer, Question, TeacherAnswer
from router.errors import BadInputError
from router.query import GenerationLimits
from router.writers.base import Prompt, Written
from router.writers.loading import LanguageModel, load_language
from router.writers.local import DEFAULT_TOKENS, LocalWriter
from router.writers.prompting import Template

log = logging.getLogger(__name__)

_STEP = 16  # questions that are written together


@dataclass(frozen=True, slots=True)
class Wording:
    """How a writing teacher is asked.

    Attributes:
        prompt: Template around the question.
        rationale_prompt: The same where a reason is wanted; what follows "the answer is" in its text is the answer.
    """

    prompt: str = "{text}"
    rationale_prompt: str = ""


class GeneratingTeacher:
    """Answers with what a language model writes."""

    def __init__(self, name: str, language: LanguageModel, version: str, wording: Wording) -> None:
        """Write with a model that is loaded.

        Raises:
            ConfigError: A template without its field.
            ModelError: The model has a label head.
        """
        self.name = name
        self.version = version
        self._writer = LocalWriter(language)
        self._prompt = Template(wording.prompt)
        self._rationale_prompt = Template(wording.rationale_prompt) if wording.rationale_prompt else None
        self._unread = 0

    def answer(self, questions: Sequence[Question]) -> Iterator[TeacherAnswer | NoAnswer]:
        """Write the answers, a few at a time."""
        for start in range(0, len(questions), _STEP):
            began = time.perf_counter()
            asked = questions[start : start + _STEP]
            written = self._write(asked)
            milliseconds = (time.perf_counter() - began) * 1000 / len(asked)
            for question, text in zip(asked, written, strict=True):
                yield text if isinstance(text, NoAnswer) else self._answer(question, text, milliseconds)

    def _write(self, questions: Sequence[Question]) -> list[Written | NoAnswer]:
        found: dict[int, Written | NoAnswer] = {}
        together = [place for place, question in enumerate(questions) if _is_plain(question)]
        try:
            found |= zip(together, self._write_together([questions[place] for place in together]), strict=True)
        except BadInputError:
            together = []  # one of them is too long: ask each, so that the others are answered
        for place, question in enumerate(questions):
            if place not in found:
                found[place] = self._write_one(question)
        return [found[place] for place in range(len(questions))]

    def _write_together(self, questions: Sequence[Question]) -> list[Written]:
        if not questions:
            return []
        most = max(question.limits.max_tokens or DEFAULT_TOKENS for question in questions)
        top_k = max(question.wanted.top_k for question in questions)
        prompts = [self._template(question).fill(question.text) for question in questions]
        return write(self._writer.language, prompts, most, top_k)

    def _write_one(self, question: Question) -> Written | NoAnswer:
        template = self._template(question)
        messages = question.messages if template.is_bare else ()
        prompt = Prompt(template.fill(question.text), messages, question.tools, question.response_schema)
        try:
            return self._writer.write(prompt, question.limits, question.wanted.top_k)
        except BadInputError as error:
            return NoAnswer(str(error))

    def _template(self, question: Question) -> Template:
        return self._rationale_prompt if question.wanted.rationale and self._rationale_prompt else self._prompt

    def _answer(self, question: Question, written: Written, milliseconds: float) -> TeacherAnswer:
        text, rationale = written.text, ""
        if question.wanted.rationale and self._rationale_prompt:
            rationale, phrase, answer = text.rpartition(ANSWER_PHRASE)
            text = answer.strip().rstrip(".").strip() if phrase else text
            if not phrase or not rationale.strip():
                self._count_unread(written.text)
        return TeacherAnswer(
            text,
            self.version,
            milliseconds=milliseconds,
            tokens_in=written.tokens_in,
            tokens_out=len(written.tokens),
            tokens=written.tokens if question.wanted.top_k else (),
            rationale=rationale.strip(),
            tool_calls=written.tool_calls,
            finish_reason=written.finish_reason,
        )

    def _count_unread(self, text: str) -> None:
        self._unread += 1
        if self._unread.bit_count() == 1:  # 1, 2, 4, 8, ...: seldom enough for a log
            log.warning("teacher %s: %d reasons can't be read; one: %.200r", self.name, self._unread, text)


def load_generating_teacher(name: str, model: str, wording: Wording) -> GeneratingTeacher:
    """The teacher, its model loaded.

    Raises:
        ModelError: It can't be loaded, or does not fit its tokenizer.
        ConfigError: A template without its field.
    """
    return GeneratingTeacher(name, load_language(model), version_of(model, wording), wording)


def version_of(model: str, wording: Wording) -> str:
    """Digest of everything that an answer depends on: the model's files, or its name at a hub, and the wording."""
    digest = hashlib.sha256(f"{wording}".encode())
    folder = Path(model)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file():
            with path.open("rb") as stream:
                digest.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    if not folder.is_dir():
        digest.update(model.encode())
    return digest.hexdigest()[:16]


def _is_plain(question: Question) -> bool:
    limits = question.limits
    asks_more = question.messages or question.tools or question.response_schema
    return not asks_more and limits == GenerationLimits(limits.max_tokens)
