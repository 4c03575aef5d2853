"""Finds keys and tokens in texts: by the marks of who gives them, by the word before them, or by their look.

Rules:
 * Each character is looked at a bounded number of times, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from router.core.privacy.plain_view import Span

_MARKED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{16,}+"
    r"|gh[opsur]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+|gl(?:pat|ptt|rt)-[A-Za-z0-9_\-]{16,}+"
    r"|xox[a-z]-[A-Za-z0-9\-]{10,}+|(?:AKIA|ASIA|AROA)[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_\-]{30,}+|ya29\.[0-9A-Za-z_\-]{16,}+"
    r"|hf_[A-Za-z0-9]{16,}+|npm_[A-Za-z0-9]{20,}+|pypi-[A-Za-z0-9_\-]{20,}+|whsec_[A-Za-z0-9]{16,}+"
    r"|dop_v1_[a-f0-9]{32,}+|SG\.[A-Za-z0-9_\-]{16,}+(?:\.[A-Za-z0-9_\-]{16,}+)?"
    r")",
    re.ASCII,
)
_WEB_TOKEN = re.compile(r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}+(?:\.[A-Za-z0-9_\-]{4,}+){1,4}", re.ASCII)
_NAMED = re.compile(
    r"(?<![A-Za-z0-9])(?:api[_\- ]?key|access[_\- ]?key|secret(?:[_\- ]?key)?|auth[_\- ]?token|access[_\- ]?token|token"
    r"|password|passwd|pwd|passphrase)[\"']?\s{0,3}[:=]\s{0,3}[\"']?([^\s\"',;<>]{6,512}+)",
    re.ASCII | re.IGNORECASE,
)
_BEARER = re.compile(r"(?<![A-Za-z0-9])bearer\s{1,3}([A-Za-z0-9._~+/=\-]{16,}+)", re.ASCII | re.IGNORECASE)
_LOOKS_RANDOM = re.compile(r"[A-Za-z0-9]{32,}+", re.ASCII)
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----", re.ASCII)
_END = re.compile(r"-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----", re.ASCII)


def find_key(text: str) -> Iterator[Span]:
    """Keys of programs, tokens, passwords that are named as such, and private keys in PEM."""
    for pattern in (_MARKED, _WEB_TOKEN):
        for found in pattern.finditer(text):
            yield found.span()
    for pattern in (_NAMED, _BEARER):
        for found in pattern.finditer(text):
            yield found.span(1)
    for found in _LOOKS_RANDOM.finditer(text):
        if not (found[0].isalpha() or found[0].isdigit()):
            yield found.span()
    yield from _find_private_keys(text)


def _find_private_keys(text: str) -> Iterator[Span]:
    """Private keys, from the first line to the last; to the end of a text that has no last line."""
    begun = _BEGIN.search(text)
    while begun is not None:
        ended = _END.search(text, begun.end())
        end = ended.end() if ended else len(text)
        yield begun.start(), end
        begun = _BEGIN.search(text, end)
