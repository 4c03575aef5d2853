"""Redactors by their names: ours, and those of packages that are installed beside us.

A package offers its own by the entry point group ``headrace.redactors``: a function from a text to the spans of
characters to take out, ``(start, end)`` each. Its name is what a task lists, and what stands in the text instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from router.core.errors import OperatorError
from router.core.privacy.redaction import BUILT_IN, Find, Redaction

GROUP = "headrace.redactors"


def redaction_of(names: Iterable[str]) -> Redaction:
    """What the redactors of these names take out; the order of the names does not matter.

    Raises:
        OperatorError: There is no such redactor here, or it can't be loaded.
    """
    return _made(tuple(sorted(set(names))))


def known_redactors() -> list[str]:
    """The names of all redactors here."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


@cache
def _made(names: tuple[str, ...]) -> Redaction:
    own = tuple((name, _loaded(name)) for name in names if name not in BUILT_IN)
    return Redaction(own, tuple(name for name in names if name in BUILT_IN))


def _loaded(name: str) -> Find:
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        known = ", ".join(known_redactors())
        raise OperatorError(f"there is no redactor {name!r} here; install the package that has it, or use of {known}")
    return _function(points[0])


def _function(point: EntryPoint) -> Find:
    try:
        found = point.load()
    except Exception as error:  # whatever a package does while it is imported
        raise OperatorError(f"the redactor {point.name!r} can't be loaded: {error!r}") from error
    if not callable(found):
        raise OperatorError(f"the redactor {point.name!r} is no function from a text to spans")
    redactor: Find = found
    return redactor
