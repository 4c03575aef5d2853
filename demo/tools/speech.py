"""Numbers, spans and times as people say them, and what a call says.

Rules:
 * A value is what is meant: whole minutes, a share in percent, a time of day as ``HH:MM``.
 * Every function draws from the generator that it is given, and from nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import MappingProxyType

Said = tuple[str, str | int | float]

ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_PAST = {5: "five past", 10: "ten past", 15: "quarter past", 20: "twenty past", 30: "half past"}
_TO = {10: "ten to", 15: "quarter to"}
_PARTS = {"in the morning": range(5, 12), "in the afternoon": range(12, 18), "in the evening": range(17, 23)}


def in_words(value: int) -> str:
    """A whole number from 0 to 99 in words."""
    if value < 20:
        return (*ONES, *TEENS)[value]
    ten, one = divmod(value, 10)
    return TENS[ten - 2] + (f" {ONES[one]}" if one else "")


def number(draws: random.Random) -> Said:
    """A number from 2 to 99, small ones more often."""
    value = draws.choice((draws.randint(2, 12), draws.randint(2, 99)))
    return _spelt(value, draws), value


def percent(draws: random.Random) -> Said:
    """A share."""
    value = draws.choice((draws.randrange(10, 100, 10), draws.randrange(5, 100, 5), draws.randint(1, 99)))
    return f"{_spelt(value, draws)} percent", value


def degrees(draws: random.Random) -> Said:
    """A temperature of a room, sometimes with a half."""
    value = draws.randint(15, 26)
    if draws.random() < 0.05:
        return f"{_spelt(value, draws)} and a half degrees", value + 0.5
    return f"{_spelt(value, draws)} degrees", value


def minutes(draws: random.Random) -> Said:
    """A span of time."""
    kind = draws.random()
    if kind < 0.6:
        value = draws.choice((draws.randint(2, 20), draws.randrange(5, 60, 5), draws.randint(2, 59)))
        return f"{_spelt(value, draws)} minutes", value
    if kind < 0.8:
        return draws.choice((("half an hour", 30), ("an hour", 60), ("a quarter of an hour", 15), ("a minute", 1)))
    if kind < 0.9:
        hours = draws.randint(2, 5)
        return f"{_spelt(hours, draws)} hours", 60 * hours
    if kind < 0.95:
        return "an hour and a half", 90
    rest = draws.randrange(5, 60, 5)
    return f"an hour and {_spelt(rest, draws)} minutes", 60 + rest


def time(draws: random.Random) -> Said:
    """A time of day; a bare hour is meant as it is said."""
    kind = draws.random()
    if kind < 0.08:
        return draws.choice((("noon", "12:00"), ("midnight", "00:00")))
    if kind < 0.35:
        part = draws.choice(tuple(_PARTS))
        hour = draws.choice(_PARTS[part])
        spoken, minute = _clock(hour % 12 or 12, draws)
        return f"{spoken} {part}", _told(hour, minute)
    hour = draws.randint(5, 11)
    spoken, minute = _clock(hour, draws)
    if kind < 0.5:
        return f"{spoken} pm", _told(hour + 12, minute)
    return spoken, _told(hour, minute)


def _clock(hour: int, draws: random.Random) -> tuple[str, int]:
    """How an hour from 1 to 12 is said with minutes, and the minutes; negative ones are still to go."""
    kind = draws.random()
    if kind < 0.4:
        return _spelt(hour, draws), 0
    if kind < 0.6:
        minute = draws.choice(tuple(_PAST))
        return f"{_PAST[minute]} {in_words(hour)}", minute
    if kind < 0.7:
        minute = draws.choice(tuple(_TO))
        return f"{_TO[minute]} {in_words(hour)}", -minute
    minute = draws.randrange(10, 60, 5)
    return f"{in_words(hour)} {in_words(minute)}", minute


def _told(hour: int, minute: int) -> str:
    hours, minutes_ = divmod(60 * hour + minute, 60)
    return f"{hours % 24:02d}:{minutes_:02d}"


def _spelt(value: int, draws: random.Random) -> str:
    return str(value) if draws.random() < 0.4 else in_words(value)


def digits(draws: random.Random) -> Said:
    """A house number, said as it is written."""
    value = str(draws.choice((draws.randint(1, 20), draws.randint(1, 99))))
    return value, value


BUILT_IN: MappingProxyType[str, Callable[[random.Random], Said]] = MappingProxyType(
    {"number": number, "percent": percent, "degrees": degrees, "minutes": minutes, "time": time, "digits": digits}
)
