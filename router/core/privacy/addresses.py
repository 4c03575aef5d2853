"""Finds addresses in texts: of mail (RFC 5321), and of machines (IP, versions 4 and 6).

Rules:
 * Each character is looked at a bounded number of times, whatever the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from router.core.privacy.plain_view import Span

_NEXT_TO_LETTERS = frozenset("._%+-'&~=/!#$*?^{|}`")  # in the part before the @
_LONGEST_QUOTED = 66
_LONGEST_IP = 64
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)", re.ASCII)
_MAYBE_IPV6 = re.compile(r"[0-9A-Fa-f:.]++", re.ASCII)
_ZONE = re.compile(r"%\w{1,16}+", re.ASCII)


def find_mail(text: str) -> Iterator[Span]:
    """Addresses of mail: what stands around an @, as far as it may belong to one."""
    after = 0
    at = text.find("@")
    while at >= 0:
        start = _local_start(text, after, at)
        end = _domain_end(text, at + 1)
        if start < at and end > at + 1:
            yield start, end
        after = at + 1
        at = text.find("@", after)


def find_ip(text: str) -> Iterator[Span]:
    """Addresses of machines."""
    for found in _IPV4.finditer(text):
        if all(int(part) < 256 for part in found[0].split(".")):
            yield found.span()
    if "::" in text or text.count(":") >= 7:
        yield from _find_ipv6(text)


def _local_start(text: str, least: int, at: int) -> int:
    """Where the part before an @ begins; ``at`` itself without one."""
    if at > least and text[at - 1] == '"':
        quote = text.rfind('"', max(least, at - _LONGEST_QUOTED), at - 1)
        return at if quote < 0 else quote
    start = at
    while start > least and (_is_letter(text[start - 1]) or text[start - 1] in _NEXT_TO_LETTERS):
        start -= 1
    while start < at and text[start] in _NEXT_TO_LETTERS and text[start] != "_":
        start += 1
    return start


def _domain_end(text: str, start: int) -> int:
    """Where a domain ends that begins at ``start``; ``start`` where none does."""
    end = start
    while end < len(text) and (_is_letter(text[end]) or text[end] in ".-"):
        end += 1
    while end > start and text[end - 1] in ".-":
        end -= 1
    dot = text.rfind(".", start, end)
    return end if start < dot < end - 2 else start


def _is_letter(character: str) -> bool:
    return character.isalnum() or unicodedata.combining(character) > 0


def _find_ipv6(text: str) -> Iterator[Span]:
    for found in _MAYBE_IPV6.finditer(text):
        start, end = found.span()
        while start < end and (text[start] == "." or (text[start] == ":" and text[start : start + 2] != "::")):
            start += 1
        while end > start and (text[end - 1] == "." or (text[end - 1] == ":" and text[end - 2 : end] != "::")):
            end -= 1
        if end - start > _LONGEST_IP or (start and text[start - 1].isalnum()) or text[end : end + 1].isalnum():
            continue
        said = text[start:end]
        if ":" in said and said != "::" and _is_ipv6(said):
            zone = _ZONE.match(text, end)
            yield start, zone.end() if zone else end


def _is_ipv6(said: str) -> bool:
    try:
        IPv6Address(said)
    except AddressValueError:
        return False
    return True
