"""The questions of a file: JSON lines ``{"text": ...}``, and what else a line says of its question.

Rules:
 * Every line is checked before the first question is sent.
 * A line may say of its question what a program may (``LINE_OPTIONS``). A key that was probably meant as one of them is
   refused, so that no request for privacy is lost to a slip of the pen; any other is kept, and told.
 * A question's id is its own, or made of its line number and what is asked: the same line has the same id in every run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from router.client.argument_types import checked_seconds, checked_value, nearest
from router.core.domain.query import Query, Route, check_query
from router.core.errors import BadInputError, DataError
from router.transport.wire import query_to_proto

ID, TEXT, ANSWER, DEADLINE = "id", "text", "answer", "deadline"
_OF_THE_QUERY = ("route", "consent", "tenant", "subject", "conversation")
_WANTED = ("top_k", "rationale")
LINE_OPTIONS = (*_OF_THE_QUERY, *_WANTED, DEADLINE)
_WORDS_OF_THEIR_OWN = frozenset({"content", "contents"})  # near "consent", and common
# What else people call it.
_MEANT = {
    "timeout": '"deadline"',
    "local_only": '"route": "local_only"',
    "cloud_only": '"route": "cloud_only"',
    "private": '"route": "local_only"',
    "log": '"consent": "refused" or "granted"',
    "logged": '"consent": "refused" or "granted"',
}
# In the key of something that is true or false: a request for privacy, in somebody's words.
_OF_PRIVACY = frozenset(
    {"local", "private", "privacy", "offline", "secret", "confidential", "sensitive", "personal", "cloud", "shared"}
    | {
        "log",
        "logged",
        "logging",
        "nolog",
        "store",
        "stored",
        "save",
        "train",
        "training",
        "consent",
        "consents",
        "share",
    }
)
_NOT_IN_A_FILE = frozenset({"messages", "tools", "response_schema"})


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the file.

    Attributes:
        line: Its number, from 1.
        says: All that it says.
        query: What it asks.
        deadline: Seconds, ``None`` where the line says nothing.
    """

    line: int
    says: dict[str, Any]
    query: Query
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A file of questions that can be asked: how many there are, and the keys that mean nothing here."""

    count: int
    unread: tuple[str, ...]


def read_questions(path: Path, template: Query) -> Iterator[Question]:
    """The questions of a file, one after the other; empty lines are passed over.

    Args:
        path: JSON lines.
        template: A query that says what every line leaves out. A route other than ``auto`` holds for every line.

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


def check_questions(path: Path, template: Query) -> Checked:
    """Check every line, and count them.

    Raises:
        DataError: A line can't be asked, or has the id of another.
    """
    lines: dict[str, int] = {}
    unread: set[str] = set()
    for question in read_questions(path, template):
        first = lines.setdefault(question.query.id, question.line)
        if first != question.line:
            raise DataError(str(path), question.line, f'has the "{ID}" of line {first}; ids must differ')
        unread.update(key for key in question.says if key not in (ID, TEXT, *LINE_OPTIONS))
    return Checked(len(lines), tuple(sorted(unread)))


def read_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The JSON object that a line spells.

    Raises:
        DataError: It spells none.
    """
    try:
        said = line.decode("utf-8-sig" if number == 1 else "utf-8")
        says = json.loads(said, object_pairs_hook=_without_repeats)
    except UnicodeDecodeError as error:
        raise DataError(str(path), number, f"is not UTF-8 at byte {error.start + 1} of the line") from error
    except (ValueError, RecursionError) as error:
        raise DataError(str(path), number, f"is not JSON: {error}") from error
    if not isinstance(says, dict):
        raise DataError(str(path), number, f'is not a JSON object; write {{"{TEXT}": "..."}}')
    return says


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that stands in it twice, one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for position, (key, _) in enumerate(pairs) if key in dict(pairs[:position]))
        raise ValueError(f'the key "{twice}" stands twice in one object')
    return found


def _question(path: Path, number: int, line: bytes, template: Query) -> Question:
    says = read_object(path, number, line)
    text, name = says.get(TEXT), says.get(ID, "")
    if not isinstance(text, str):
        raise DataError(str(path), number, f'has no "{TEXT}" that is a string; write {{"{TEXT}": "..."}}')
    if ANSWER in says:
        raise DataError(str(path), number, f'has a key "{ANSWER}", where the answer goes; give it another name')
    if ID in says and (isinstance(name, bool) or not isinstance(name, str | int) or name == ""):
        raise DataError(str(path), number, f'has an "{ID}" that is neither a string nor a number')
    for key, value in says.items():
        problem = _slip(key, value)
        if problem:
            raise DataError(str(path), number, problem)
    try:
        query, deadline = _asked(replace(template, text=text, id=str(name)), says)
        if not query.id:
            query = replace(query, id=f"{number}-{query.digest()[:32]}")
        query_to_proto(query)
        check_query(query)
    except BadInputError as error:
        raise DataError(str(path), number, str(error)) from error
    if template.route is not Route.AUTO and query.route is not template.route:
        problem = f'has "route": "{query.route}", and --route {template.route} holds for every line; leave one out'
        raise DataError(str(path), number, problem)
    return Question(number, says, query, deadline)


def _asked(query: Query, says: dict[str, Any]) -> tuple[Query, float | None]:
    """The query with what a line says of it, and its deadline."""
    wanted = replace(query.wanted, **{key: says[key] for key in _WANTED if key in says})
    query = replace(query, wanted=wanted, **{key: says[key] for key in _OF_THE_QUERY if key in says})
    deadline = checked_seconds(says[DEADLINE], DEADLINE) if DEADLINE in says else None
    return checked_value(query), deadline


def _slip(key: str, value: object) -> str:
    """What is wrong with a key that was probably meant as an option; empty where nothing is."""
    if key in LINE_OPTIONS:
        return ""
    plain = key.strip().casefold().replace("-", "_")
    if plain in _NOT_IN_A_FILE:
        return f'has a key "{key}", which can\'t stand in a file of questions; ask it from a program'
    if isinstance(value, dict) and any(inner in LINE_OPTIONS for inner in value):
        return f'has options within "{key}"; write them beside "{TEXT}"'
    meant = _MEANT.get(plain, "")
    if not meant and isinstance(value, bool) and not _OF_PRIVACY.isdisjoint(re.split(r"[_\W]+", plain)):
        meant = '"route": "local_only" or "consent": "refused"'
    if not meant and plain not in _WORDS_OF_THEIR_OWN:
        meant = f'"{_route_or_option(plain, value)}"'.replace('""', "")
    return f'has a key "{key}"; write {meant}, or give it another name if it means something else' if meant else ""


def _route_or_option(key: str, value: object) -> str:
    spelt = value.strip().casefold().replace("-", "_") if isinstance(value, str) else ""
    if spelt in (Route.LOCAL_ONLY, Route.CLOUD_ONLY):
        return "route"
    return nearest(key, LINE_OPTIONS)
