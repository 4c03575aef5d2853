"""Finds numbers in texts that name a person: of cards (ISO/IEC 7812), bank accounts (ISO 13616) and telephones (E.164).

Rules:
 * Cards and accounts are known by their checksums, so that other numbers stay.
 * Blanks, dashes, points and the like may stand between the digits, as people write them.
 * Each digit is looked at a bounded number of times, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from router.core.privacy.plain_view import Span

LEAST_CARD, MOST_CARD = 13, 19  # digits
LEAST_PHONE, MOST_PHONE = 7, 15  # digits, with the code of the country
LEAST_NATIONAL, MOST_NATIONAL = 9, 12  # digits, with the leading zero
_FIRST_OF_CARD = "23456"  # of payment cards

_DIGITS = re.compile(r"\d(?:[ .\-]{0,2}\d)*+", re.ASCII)
_DIALLED = re.compile(r"[+(]{0,2}\d(?:[ .\-/()]{0,3}\d)*+", re.ASCII)
_DATE = re.compile(r"\d{1,2}[.\-/ ]{1,2}\d{1,2}[.\-/ ]{1,2}\d{4}(?!\d)", re.ASCII)
_FRACTION = re.compile(r"0\.\d++(?!\.\d)", re.ASCII)
_AMERICAN = re.compile(r"(?<![\d+])(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}(?!\d)", re.ASCII)

_IBAN_START = re.compile(r"(?=([A-Za-z]{2})[ \-]?\d[ \-]?\d)", re.ASCII)
_IBAN_LENGTHS = {  # by country; from the registry of SWIFT
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "EG", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    "LC": 32,
    "RU": 33,
}
_IBAN_OF_LENGTH = {
    length: re.compile(rf"[A-Za-z](?:[ \-]?[A-Za-z0-9]){{{length - 1}}}", re.ASCII)
    for length in set(_IBAN_LENGTHS.values())
}


def find_card(text: str) -> Iterator[Span]:
    """Numbers of cards: whole groups of digits whose last is the check digit of Luhn's."""
    for found in _DIGITS.finditer(text):
        run = _run(text, *found.span())
        if len(run.digits) >= LEAST_CARD:
            yield from _cards_in(run)


def find_iban(text: str) -> Iterator[Span]:
    """Numbers of bank accounts: as long as their country has them, and 1 modulo 97."""
    end = 0
    for found in _IBAN_START.finditer(text):
        length = _IBAN_LENGTHS.get(found[1].upper())
        if length is None or found.start() < end:
            continue
        whole = _IBAN_OF_LENGTH[length].match(text, found.start())
        if whole is not None and _is_iban(whole[0]):
            end = whole.end()
            yield whole.span()


def find_phone(text: str) -> Iterator[Span]:
    """Numbers of telephones: with the code of a country, with a leading zero, or as North America writes them."""
    for found in _DIALLED.finditer(text):
        yield from _phones_in(text, *found.span())
    for found in _AMERICAN.finditer(text):
        yield found.span()


@dataclass(frozen=True, slots=True)
class _Run:
    """Digits that stand together.

    Attributes:
        digits: The digits alone.
        positions: Of each in the text.
        starts: Numbers of those that begin a group.
        ends: Numbers of those after which a group ends, each the number after it.
    """

    digits: str
    positions: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]

    def span(self, first: int, last: int) -> Span:
        """The text of the digits ``first`` up to ``last``, which is not included."""
        return self.positions[first], self.positions[last - 1] + 1


def _run(text: str, start: int, end: int) -> _Run:
    positions = [position for position in range(start, end) if text[position].isdigit()]
    starts = [
        number for number, position in enumerate(positions) if not number or positions[number - 1] != position - 1
    ]
    return _Run("".join(text[position] for position in positions), positions, starts, [*starts[1:], len(positions)])


def _cards_in(run: _Run) -> Iterator[Span]:
    """Card numbers: of windows that begin and end with a group, the first that passes, and so on after it."""
    sums = _luhn_sums(run.digits)
    free, ends, first_end = 0, run.ends, 0
    for start in run.starts:
        if start < free or run.digits[start] not in _FIRST_OF_CARD:
            continue
        while first_end < len(ends) and ends[first_end] < start + LEAST_CARD:
            first_end += 1
        for end in ends[first_end : first_end + MOST_CARD - LEAST_CARD + 1]:
            if end <= start + MOST_CARD and _passes(sums, start, end):
                free = end
                yield run.span(start, end)
                break


def _luhn_sums(digits: str) -> tuple[Sequence[int], Sequence[int]]:
    """Sums of all digits before each position: every second one doubled, the even ones or the odd ones."""
    doubled = [2 * int(digit) - 9 * (digit > "4") for digit in digits]
    plain = [int(digit) for digit in digits]
    even = accumulate((doubled[n] if n % 2 == 0 else plain[n] for n in range(len(digits))), initial=0)
    odd = accumulate((doubled[n] if n % 2 else plain[n] for n in range(len(digits))), initial=0)
    return [*even], [*odd]


def _passes(sums: tuple[Sequence[int], Sequence[int]], start: int, end: int) -> bool:
    """Whether Luhn's sum of a window ends with 0: its second digit from the end is doubled, and so on."""
    chosen = sums[end % 2]  # the digit at end - 2 is doubled
    return (chosen[end] - chosen[start]) % 10 == 0


def _is_iban(said: str) -> bool:
    compact = "".join(character for character in said if character.isalnum()).upper()
    if not compact[2:4].isdigit():
        return False
    return int("".join(str(int(one, 36)) for one in compact[4:] + compact[:4])) % 97 == 1


def _phones_in(text: str, start: int, end: int) -> Iterator[Span]:
    """Phone numbers in one run of digits: its first groups where they make a number, then what is left likewise."""
    run = _run(text, start, end)
    signs = text[start : run.positions[0]]
    digits = run.digits
    first = 0
    while first < len(run.starts):
        begin = run.starts[first]
        least, most = _lengths(digits, begin, "+" in signs and not first)
        last = first
        while last < len(run.ends) and run.ends[last] - begin <= most:
            last += 1
        found = last > first and run.ends[last - 1] - begin >= least
        where = run.positions[begin]
        if found and (least == LEAST_PHONE or not (_DATE.match(text, where) or _FRACTION.match(text, where))):
            yield (start if not first else where), run.positions[run.ends[last - 1] - 1] + 1
            first = last
        else:
            first += 1


def _lengths(digits: str, begin: int, has_sign: bool) -> tuple[int, int]:
    """Least and most digits of a number that begins there; none has as many where it can't be one."""
    if has_sign:
        return LEAST_PHONE, MOST_PHONE
    leading = digits[begin : begin + 3]
    if leading.startswith("00") and leading[2:] not in {"", "0"}:
        return LEAST_NATIONAL, MOST_PHONE + 2
    if leading.startswith("0") and leading[1:2] not in {"", "0"}:
        return LEAST_NATIONAL, MOST_NATIONAL
    return 1, 0
