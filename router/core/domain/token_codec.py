"""Token probabilities as bytes, a bounded number of them each.

A token is: how many alternatives follow (1 byte), its log-probability and the tail's (float16 each, NaN for no tail),
then its text (1 byte of length, UTF-8). An alternative is a log-probability (float16) and a text.

Rules:
 * At most ``MOST_ALTERNATIVES`` alternatives of at most ``MOST_TEXT_BYTES`` bytes: no more than ``MOST_BYTES`` a token.
 * What is cut off the alternatives goes into the tail.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from router.core.domain.query import Distribution, TokenProbability

MOST_ALTERNATIVES = 5
MOST_TEXT_BYTES = 48
MOST_BYTES = 6 + MOST_TEXT_BYTES + MOST_ALTERNATIVES * (3 + MOST_TEXT_BYTES)

_LOWEST = -60_000.0  # float16 ends at 65,504


def pack(tokens: Sequence[TokenProbability]) -> bytes:
    """The tokens as bytes."""
    return b"".join(_pack(token) for token in tokens)


def unpack(data: bytes) -> tuple[TokenProbability, ...]:
    """The tokens that ``pack`` wrote; log-probabilities to three digits.

    Raises:
        ValueError: These are no such bytes.
    """
    try:
        return _unpacked(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"these bytes hold no tokens: {error}") from error


def _unpacked(data: bytes) -> tuple[TokenProbability, ...]:
    found, position = [], 0
    while position < len(data):
        count, own, tail = struct.unpack_from("<Bee", data, position)
        text, position = _text(data, position + 5)
        top = []
        for _ in range(count):
            (value,) = struct.unpack_from("<e", data, position)
            name, position = _text(data, position + 2)
            top.append((name, value))
        found.append(TokenProbability(text, own, Distribution(tuple(top), None if math.isnan(tail) else tail)))
    return tuple(found)


def _pack(token: TokenProbability) -> bytes:
    top = token.alternatives.top[:MOST_ALTERNATIVES]
    tail = _tail(token.alternatives)
    parts = [struct.pack("<Bee", len(top), _half(token.log_probability), math.nan if tail is None else _half(tail))]
    parts.append(_named(token.token))
    parts += [struct.pack("<e", _half(value)) + _named(name) for name, value in top]
    return b"".join(parts)


def _tail(alternatives: Distribution) -> float | None:
    left_out = [value for _, value in alternatives.top[MOST_ALTERNATIVES:]]
    if not left_out:
        return alternatives.tail
    left_out += [] if alternatives.tail is None else [alternatives.tail]
    return math.log(max(math.fsum(math.exp(value) for value in left_out), 1e-300))


def _named(text: str) -> bytes:
    data = text.encode()[:MOST_TEXT_BYTES]
    data = data.decode(errors="ignore").encode()  # no half letter
    return bytes([len(data)]) + data


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = position + 1 + data[position]
    if end > len(data):
        raise IndexError("a text is cut")
    return data[position + 1 : end].decode(), end


def _half(value: float) -> float:
    return max(value, _LOWEST)
