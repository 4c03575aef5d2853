"""Numbers as people and models write them.

Rules:
 * Parsed, never evaluated. What is longer than any sensible number is none.
 * Where both texts name a unit it counts, and units of one kind are converted; where one does not, the numbers as
   written are compared.
 * A comma before three digits separates thousands; where a point and a comma both stand, the last is the decimal sign.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

TOLERANCE = 1e-6  # relative, and absolute below 1

_MOST_CHARACTERS = 60
_NUMBER = re.compile(
    r"""(?<![^\W_])(?<!\d[.,'_:/-])
    (?P<sign>(?<![\w)])[-+])?
    (?:(?P<whole>\d{1,9})\s+(?=\d+\s*/))?
    (?P<value>(?>\d+(?:\ \d{3}(?!\d))+(?:[.,]\d+)?|\d[\d,'_]*(?:\.\d[\d.,]*)?|\.\d+))
    (?:[eE](?P<exponent>[-+]?\d{1,3})(?!\w))?+
    (?:\s*/\s*(?P<divisor>\d++)(?!\w))?+
    (?![:/-]\d)""",
    re.VERBOSE,
)
_WHOLE = re.compile(
    r"^(?P<before>[-+]?\s*[$€£¥]?)\s*(?P<number>[.\d].*?)\s*(?P<unit>(?![eE][-+]?\d)[^\W\d_][\w/^]*|[%°$€£¥]\w?)?$"
)
_SCALES: dict[str, tuple[str, Fraction]] = {
    name: (kind, Fraction(scale))
    for kind, units in {
        "length": {
            "mm": "0.001",
            "cm": "0.01",
            "m": "1",
            "km": "1000",
            "inch": "0.0254",
            "ft": "0.3048",
            "mi": "1609.344",
        },
        "mass": {"mg": "0.001", "g": "1", "kg": "1000", "t": "1000000"},
        "time": {"ms": "0.001", "s": "1", "sec": "1", "min": "60", "h": "3600", "hr": "3600", "day": "86400"},
        "volume": {"ml": "0.001", "cl": "0.01", "l": "1"},
        "share": {"%": "0.01", "percent": "0.01"},
        "money": {"$": "1", "usd": "1", "dollar": "1", "cent": "0.01"},
        "euro": {"€": "1", "eur": "1", "euro": "1"},
    }.items()
    for name, scale in units.items()
}
_LONG = {
    "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "centimeter": "cm", "centimetre": "cm",
    "gram": "g", "kilogram": "kg", "second": "s", "minute": "min", "hour": "h", "liter": "l", "litre": "l",
    "foot": "ft", "feet": "ft", "mile": "mi", "inches": "inch", "secs": "sec", "mins": "min", "hrs": "hr",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as written, and its unit in the singular, empty where none is named."""

    value: Fraction
    unit: str = ""


def same_quantity(one: str, other: str, tolerance: float = TOLERANCE) -> bool | None:
    """Whether two texts name the same quantity; ``None`` when neither names any.

    Args:
        one: A text.
        other: Another.
        tolerance: How far apart, as a share of the larger, or absolute where both are below 1.
    """
    first, second = quantity_in(one), quantity_in(other)
    if first is None or second is None:
        return None if first is second else False
    if first.unit and second.unit and first.unit != second.unit:
        from_kind, from_scale = _SCALES.get(first.unit, (first.unit, Fraction(1)))
        to_kind, to_scale = _SCALES.get(second.unit, (second.unit, Fraction(1)))
        return from_kind == to_kind and _close(first.value * from_scale, second.value * to_scale, tolerance)
    return _close(first.value, second.value, tolerance)


def quantity_in(text: str) -> Quantity | None:
    """The quantity that a text is, or the last number that it names; ``None`` if there is none."""
    plain = _plain(text)
    whole = _WHOLE.match(plain) if len(plain) <= _MOST_CHARACTERS else None
    if whole is not None:
        sign = "-" if "-" in whole["before"] else ""
        found = _NUMBER.fullmatch(sign + whole["number"])
        value = _value(found) if found else None
        if value is not None:
            return Quantity(value, _unit(whole["unit"] or whole["before"].strip("+- ")))
    for found in reversed(list(_NUMBER.finditer(plain))):
        value = _value(found)
        if value is not None:
            return Quantity(value)
    return None


def _plain(text: str) -> str:
    spaced = "".join(
        f" {letter}" if unicodedata.decomposition(letter).startswith("<fraction>") else letter for letter in text
    )
    return unicodedata.normalize("NFKC", spaced).replace("\u2212", "-").replace("\u2044", "/").strip().rstrip(".!? ")


def _value(found: re.Match[str]) -> Fraction | None:
    digits = _plain_digits(found["value"])
    if digits is None or len(found[0]) > _MOST_CHARACTERS:
        return None
    try:
        value = Fraction(f"{digits}e{found['exponent'] or 0}") / int(found["divisor"] or 1)
        value += int(found["whole"] or 0)
    except (ValueError, ZeroDivisionError):
        return None
    return -value if found["sign"] == "-" else value


def _plain_digits(text: str) -> str | None:
    """Digits with at most one point, or ``None`` where separators stand as no one writes them."""
    text = re.sub(r"['_ ]", "", text).rstrip(".,")
    decimal = _decimal_sign(text)
    whole, _, part = text.rpartition(decimal) if decimal else (text, "", "")
    groups = re.split(r"[.,]", whole)
    if len(groups) > 1 and (any(len(group) != 3 for group in groups[1:]) or not 1 <= len(groups[0]) <= 3):
        return None
    joined = "".join(groups)
    if not re.fullmatch(r"\d*", joined + part):
        return None
    return f"{joined or '0'}.{part or '0'}"


def _decimal_sign(text: str) -> str:
    points, commas = text.count("."), text.count(",")
    if points and commas:
        return max(".,", key=text.rfind)
    if points:
        return "." if points == 1 else ""
    grouped = re.fullmatch(r"\d{1,3}(,\d{3})+", text)
    return "," if commas == 1 and not grouped else ""


def _unit(text: str) -> str:
    unit = text.casefold()
    for name in (unit, unit.removesuffix("s")):
        name = _LONG.get(name, name)
        if name in _SCALES:
            return name
    return unit.removesuffix("s")


def _close(one: Fraction, other: Fraction, tolerance: float) -> bool:
    return abs(one - other) <= Fraction(tolerance) * max(Fraction(1), abs(one), abs(other))
