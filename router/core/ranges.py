"""Ranges of values that come from outside: what is out of its range is refused with its name and what would do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

MOST_INTEGER = 2**63 - 1
ROUNDING = 1e-9  # of a sum of shares


def check_range(name: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Check that a number is finite and in [least, most]; ``None`` stands for a value that is left out.

    Raises:
        ValueError: It is not; names it.
    """
    if value is not None and not (least <= value <= most and math.isfinite(value)):
        wanted = f"{least:g} or more" if most == math.inf else f"a number from {least:g} to {most:g}"
        raise ValueError(f"{name} is {shortened(value)}; use {wanted}")


def check_share(name: str, value: float | None) -> None:
    """Check that a share is in [0, 1], but for what rounding adds; ``None`` stands for one that is left out.

    Raises:
        ValueError: It is not; names it.
    """
    if value is not None and not -ROUNDING <= value <= 1 + ROUNDING:
        raise ValueError(f"{name} is {value}; use a share from 0 to 1")


def check_numbers(name: str, values: Sequence[float], length: int, most: float) -> None:
    """Check that there are ``length`` numbers in [-most, most].

    Raises:
        ValueError: There are not; names them.
    """
    if len(values) != length:
        raise ValueError(f"{name} has {len(values)} numbers; {length} are right")
    for value in values:
        check_range(name, value, -most, most)


def out_of_range(value: Any) -> tuple[str, str] | None:
    """The first number inside a value that is not finite or has over 64 bits, with its path; ``None`` without one.

    Args:
        value: Dataclasses, mappings and sequences of plain values, not nested without end.
    """
    for path, number in _numbers("", value):
        if isinstance(number, float) and not math.isfinite(number):
            return path, f"is {number}; use a finite number"
        if isinstance(number, int) and not -MOST_INTEGER <= number <= MOST_INTEGER:
            return path, "is a number of more than 64 bits"
    return None


def shortened(value: object, most: int = 80) -> str:
    """A value as a message shows it, in ``most`` letters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float):
        yield path, value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _numbers(_inside(path, field.name), getattr(value, field.name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(_inside(path, str(name)), inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _numbers(_inside(path, str(position)), inner)


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
