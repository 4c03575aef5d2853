"""A teacher over a writer: one that writes elsewhere, and waits meanwhile.

Rules:
 * It answers greedily unless the limits name a temperature: a reference must repeat itself.
 * A reason that only the caller wants is written after the answer, so that nobody's request changes the answer.
 * What its server says about itself goes to the operator's log; a caller hears that there is no answer.
 * It never asks again by itself: whoever waits for it does.
 * A server that refuses whatever it is asked puts the teacher out of order: its questions wait, none is given up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cloud_worker.teachers.base import NoAnswer, NotNow, OutOfOrder, Question, Reply, TeacherAnswer
from cloud_worker.teachers.prompts import Wording, reason_in
from cloud_worker.teachers.versions import instructed
from router.core.domain.generation import Writer, Written
from router.core.errors import BadInputError, DeclinedError, ModelError, UnavailableError
from router.students.writers.whole_answer import answer_in

log = logging.getLogger(__name__)


class WritingTeacher:
    """Answers with what a writer writes."""

    def __init__(
        self, name: str, writer: Writer, wording: Wording, version: Callable[[], str], *, threads: int = 1
    ) -> None:
        """Ask ``writer``.

        Args:
            name: As the configuration names it.
            writer: The model.
            wording: How it is asked.
            version: The version in force, never reused; raises ``UnavailableError`` where it can't be known now.
            threads: How many questions at a time.
        """
        self.name = name
        self.threads = threads
        self._writer = writer
        self._wording = wording
        self._version = version

    @property
    def version(self) -> str:
        """The version in force.

        Raises:
            UnavailableError: It can't be known now.
        """
        return self._version()

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        """Ask the writer, one question after the other."""
        for question in questions:
            yield self.answer_one(question)

    def answer_one(self, question: Question) -> Reply | NotNow:
        """The reply to one question."""
        began = time.perf_counter()
        try:
            version = self._version()
            written = self._writer.write(self._wording.prompt_of(question), question.limits, question.wanted.top_k)
            answer = answer_of(question, written, self._wording, version)
            answer = self._with_reason(question, answer)
        except DeclinedError as error:
            log.error("teacher %s has no answer: %s", self.name, error)
            return self._no_answer()
        except BadInputError as error:
            return NoAnswer(str(error).removeprefix(f"{error.field} "), error.field)
        except UnavailableError as error:
            return NotNow(str(error), error.retry_after)
        except ModelError as error:
            if not self._writer.in_process:  # its server refuses whatever it is asked, until the operator mends that
                return OutOfOrder(str(error))
            log.error("teacher %s has no answer: %s", self.name, error)
            return self._no_answer()
        return replace(answer, milliseconds=(time.perf_counter() - began) * 1000)

    def _no_answer(self) -> NoAnswer:
        return NoAnswer(f"teacher {self.name!r} has no answer to this; its operator's log says why")

    def _with_reason(self, question: Question, answer: TeacherAnswer) -> TeacherAnswer:
        prompt = self._wording.reason_prompt(question)
        if prompt is None:
            return answer
        written = self._writer.write(prompt, question.limits)
        return replace(
            answer,
            rationale=reason_in(written),
            tokens_in=answer.tokens_in + written.tokens_in,
            tokens_out=answer.tokens_out + written.tokens_out,
            usd=answer.usd + written.usd,
        )


def answer_of(question: Question, written: Written, wording: Wording, version: str) -> TeacherAnswer:
    """What a teacher says, from what its model wrote to ``wording.prompt_of(question)``."""
    written = answer_in(written)
    reading = wording.read(question, written)
    return TeacherAnswer(
        reading.answer,
        instructed(version, question.instruction),
        tokens_in=written.tokens_in,
        tokens_out=written.tokens_out or len(written.tokens),
        usd=written.usd,
        tokens=written.tokens if question.wanted.top_k else (),
        rationale=reading.rationale,
        tool_calls=written.tool_calls,
        finish_reason=written.finish_reason,
        problem=reading.problem,
    )
