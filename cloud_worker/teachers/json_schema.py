"""Whether an answer follows the JSON schema that it was asked for.

A schema comes from a caller, who may mean harm: nothing is fetched for it, none of its patterns is run, and only so
many of its rules are looked at.

Rules:
 * Draft 2020-12. A schema that can't be followed says nothing against an answer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import UndefinedTypeCheck, UnknownType, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from router.core.domain.agreement import unfenced

MOST_CHARACTERS = 64 * 1024  # of a schema
MOST_STEPS = 20_000  # rules that are looked at for one answer, each time counted
_SHOWN_CHARACTERS = 120
_UNFOLLOWED = ("patternProperties", "unevaluatedProperties")  # they run patterns, which may take for ever


class _UnfollowedError(Exception):
    """A schema asks for more than is looked at."""


_UNFOLLOWABLE = (
    _UnfollowedError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    UndefinedTypeCheck,
    UnknownType,
    Unresolvable,
    ValueError,
)


def broken_rule(schema: str, answer: str) -> str:
    """What in an answer breaks a schema, in a few words; empty where nothing is known to.

    Args:
        schema: As JSON text.
        answer: JSON text too, in a Markdown fence or not.
    """
    if len(schema) > MOST_CHARACTERS:
        return ""
    try:
        checker = _checker()(json.loads(schema), registry=Registry())  # which fetches nothing
        error = next(checker.iter_errors(json.loads(unfenced(answer))), None)
    except _UNFOLLOWABLE:
        return ""
    return "" if error is None else f"{error.json_path}: {error.message[:_SHOWN_CHARACTERS]}"


def _checker() -> Any:
    """A validator for one answer: its steps are counted."""
    steps = itertools.count(1)

    def counted(rule: Any) -> Any:
        def follow(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            if next(steps) > MOST_STEPS or any(name in schema for name in _UNFOLLOWED):
                raise _UnfollowedError
            yield from rule(validator, value, instance, schema) or ()

        return follow

    rules = {name: counted(rule) for name, rule in Draft202012Validator.VALIDATORS.items() if name != "pattern"}
    return extend(Draft202012Validator, {**rules, "pattern": counted(lambda *given: ())})
