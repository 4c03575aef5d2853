"""Ask a file of questions, and go on where an earlier run stopped.

A question is a JSON line ``{"text": ...}``; its answer is the same line with ``id`` and ``answer`` added.

Rules:
 * Every line is checked before the first question is sent.
 * A question's id is its own, or made of its line number and what is asked: the same line has the same id in every run.
 * Answers are appended as they come, each line in one write; a line torn by a power cut is asked again.
 * What concerns one question alone is counted and gone past; any other error ends the run, and the file is whole.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from router.client import AsyncClient
from router.errors import BadInputError, ConflictingQueryError, DataError, DeadlineError, HeadraceError
from router.query import Answer, Query, check_query
from router.wire import query_to_proto

ID, TEXT, ANSWER = "id", "text", "answer"
_ONE_QUESTION_ALONE = (BadInputError, ConflictingQueryError, DeadlineError)


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the file: its number from 1, what it says, and what it asks."""

    line: int
    says: dict[str, Any]
    query: Query


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


def read_questions(path: Path, template: Query) -> Iterator[Question]:
    """The questions of a file, one after the other; empty lines are passed over.

    Args:
        path: JSON lines.
        template: A query that says everything but the text and the id.

    Raises:
        DataError: Names the file and the line, and what would do.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _question(path, number, line, template)
    except OSError as error:
        raise DataError(str(path), 0, f"can't be read: {error.strerror}") from error


def _question(path: Path, number: int, line: bytes, template: Query) -> Question:
    says = _object(path, number, line)
    text, name = says.get(TEXT), says.get(ID, "")
    if not isinstance(text, str):
        raise DataError(str(path), number, f'has no "{TEXT}" that is a string; write {{"{TEXT}": "..."}}')
    if ANSWER in says:
        raise DataError(str(path), number, f'has a key "{ANSWER}", where the answer goes; give it another name')
    if ID in says and (isinstance(name, bool) or not isinstance(name, str | int) or name == ""):
        raise DataError(str(path), number, f'has an "{ID}" that is neither a string nor a number')
    query = replace(template, text=text, id=str(name))
    if not query.id:
        query = replace(query, id=f"{number}-{query.digest()[:32]}")
    try:
        query_to_proto(query)
        check_query(query)
    except BadInputError as error:
        raise DataError(str(path), number, str(error)) from error
    return Question(number, says, query)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        says = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(str(path), number, f"is not UTF-8 at byte {error.start + 1} of the line") from error
    except (ValueError, RecursionError) as error:
        raise DataError(str(path), number, f"is not JSON: {error}") from error
    if not isinstance(says, dict):
        raise DataError(str(path), number, f'is not a JSON object; write {{"{TEXT}": "..."}}')
    return says


def check_questions(path: Path, template: Query) -> int:
    """Check every line, and count them.

    Raises:
        DataError: A line can't be asked, or has the id of another.
    """
    lines: dict[str, int] = {}
    for question in read_questions(path, template):
        first = lines.setdefault(question.query.id, question.line)
        if first != question.line:
            raise DataError(str(path), question.line, f'has the "{ID}" of line {first}; ids must differ')
    return len(lines)


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
                says = _object(self._path, number, line)
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
        answer = await client.answer(question.query)
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
