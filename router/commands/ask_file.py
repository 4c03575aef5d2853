"""Ask a file of questions, and go on where an earlier run stopped.

``question_file.py`` reads the file; an answer is its question's line with ``id`` and ``answer`` added.

Rules:
 * Answers are appended as they come, each line in one write; a line torn by a power cut is asked again.
 * What concerns one question alone is counted and gone past; any other error ends the run, and the file is whole.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router.client.async_client import AsyncClient
from router.commands.output import check_said
from router.commands.question_file import ANSWER, ID, Question, read_object
from router.core.domain.query import Answer
from router.core.errors import (
    BadInputError,
    ConflictingQueryError,
    DataError,
    DeadlineError,
    EmptyAnswerError,
    HeadraceError,
)

_ONE_QUESTION_ALONE = (BadInputError, ConflictingQueryError, DeadlineError, EmptyAnswerError)


@dataclass(slots=True)
class Tally:
    """How a run went.

    Attributes:
        questions: Lines in the file.
        skipped: Of them, those answered by an earlier run.
        answered: Those answered now.
        failures: Line and error of those that got none.
    """

    questions: int = 0
    skipped: int = 0
    answered: int = 0
    failures: list[tuple[int, HeadraceError]] = field(default_factory=list)


class AnswerFile:
    """The answers, on disk. A context manager.

    Attributes:
        done: Ids of the questions answered so far.
    """

    def __init__(self, path: Path) -> None:
        """Read what an earlier run left, and cut off a torn last line.

        Raises:
            DataError: The file holds something else, or can't be written.
        """
        self._path = path
        self.done: set[str] = set()
        try:
            self._stream = path.open("ab+", buffering=0)
            self._keep_whole_lines()
        except OSError as error:
            raise DataError(str(path), 0, f"can't be written: {error.strerror}") from error

    def _keep_whole_lines(self) -> None:
        whole, line = 0, b"\n"
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if whole and _is_torn(line):
                    self._stream.truncate(whole)
                    return
                says = read_object(self._path, number, line)
                if ID not in says or ANSWER not in says:
                    raise DataError(str(self._path), number, "is no answer of an earlier run; choose another file")
                self.done.add(str(says[ID]))
                whole += len(line)
        if not line.endswith(b"\n"):
            self._stream.write(b"\n")

    def append(self, question: Question, answer: Answer) -> None:
        """Add one answer.

        Raises:
            DataError: The disk does not take it.
        """
        says = {**question.says, ID: question.query.id, ANSWER: answer_as_json(answer)}
        # A lone surrogate of the input becomes the escape that JSON has for it.
        line = (json.dumps(says, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            written = self._stream.write(line)
        except OSError as error:
            raise DataError(str(self._path), 0, f"can't be written: {error.strerror}") from error
        if written != len(line):
            raise DataError(str(self._path), 0, "can't be written: the disk is full")
        self.done.add(question.query.id)

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._stream.fileno())
        self._stream.close()


def _is_torn(line: bytes) -> bool:
    if line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


async def ask_all(
    client: AsyncClient,
    questions: Iterator[Question],
    answers: AnswerFile,
    concurrency: int,
    on_progress: Callable[[Tally], None],
) -> Tally:
    """Ask every question that has no answer yet, ``concurrency`` at a time.

    Raises:
        HeadraceError: One that concerns all questions; what was answered before it is in the file.
    """
    tally = Tally()
    before = frozenset(answers.done)

    async def work() -> None:
        for question in questions:
            tally.questions += 1
            if question.query.id in before:
                tally.skipped += 1
            else:
                await _ask_one(client, question, answers, tally)
            on_progress(tally)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except* HeadraceError as errors:
        raise _first(errors) from None
    return tally


async def _ask_one(client: AsyncClient, question: Question, answers: AnswerFile, tally: Tally) -> None:
    try:
        answer = await client.answer(question.query, question.deadline)
        check_said(answer)
    except _ONE_QUESTION_ALONE as error:
        tally.failures.append((question.line, error))
    else:
        answers.append(question, answer)
        tally.answered += 1


def _first(errors: BaseExceptionGroup[HeadraceError]) -> HeadraceError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def answer_as_json(answer: Answer) -> dict[str, Any]:
    """An answer as ``--json`` writes it: who answered and why beside the text, what was not asked for left out."""
    came_from = answer.provenance
    written: dict[str, Any] = {
        "text": answer.text,
        "confidence": answer.confidence,
        "tier": came_from.tier,
        "model": came_from.model,
        "model_version": came_from.model_version,
        "release": came_from.release,
        "reason": came_from.reason,
        "degraded": came_from.degraded,
        "covered": came_from.covered,
        "logged": came_from.logged,
        "explored": came_from.explored,
        "node": came_from.node,
        "finish_reason": answer.finish_reason,
        "milliseconds": dict(answer.usage.stages),
    }
    if answer.distribution.top:
        written["labels"] = [[label, log_probability] for label, log_probability in answer.distribution.top]
    if answer.tokens:
        written["tokens"] = [[token.token, token.log_probability] for token in answer.tokens]
    if answer.rationale:
        written["rationale"] = answer.rationale
    if answer.tool_calls:
        written["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in answer.tool_calls]
    return written
