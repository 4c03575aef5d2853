"""Keeps callers' texts from being read as control tokens of a model: whoever spells one gets its spelling broken.

A tokenizer turns ``[SEP]`` or ``<|im_end|>`` into the token that ends a turn, whoever wrote it.

Rules:
 * A text that spells no token of control stays as it is, to the byte.
 * A spelling is broken by a space behind its first character: people and models still see what was written.
 * Device and cloud break alike: by the tokenizer that reads the text, so that the ids are the same on both sides.
 * What the operator's own template spells is his, and stays.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from router.core.visible_text import as_seen

MOST_UNKNOWN_CHARACTERS = 32  # that one unknown token stands for, where the text counts as read
ROUNDS = 8  # of breaking; what still spells a token of control then is blanked out
_LEAST_CHARACTERS = 2  # of a spelling: a single character can't be broken
_MARKUP = re.compile(r"[^\w\s].*\w.*[^\w\s]", re.DOTALL)  # <think>, [INST]; no word that somebody added, no white space

# What models that people serve are known to take for control; a server's own tokenizer can't be seen from here.
_KNOWN = (
    r"<\|[^<>|\s]{1,64}\|>|<｜[^<>\s]{1,64}｜>|<\|[a-z_]{1,32}>|<[a-z_]{1,32}\|>|</?s>|<(?:bos|eos|pad|unk|mask|cls|sep)>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_(?:turn|image)>|<(?:start|end)_function_(?:call|declaration|response)>"
    r"|\[(?:SEP|CLS|MASK|PAD|gMASK|sMASK)\]|<[se]op>|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS"
    r"|TOOL_CONTENT|ARGS|CALL_ID|THINK|IMG|IMG_BREAK|IMG_END|PREFIX|SUFFIX|MIDDLE)\]|</?tool_(?:call|response|code)>|</?think>"
    r"|<(?:extra_id|unused|reserved|SPECIAL)_?\d{1,4}>|<fim[_-](?:prefix|middle|suffix|pad)>|<end_of_utterance>"
    r"|<(?:image|audio|video)(?:_soft_token)?>|\]~!?b[\[\]]|\[e~\["
)

Spans = Sequence[tuple[int, int]]


class PlainText:
    """Breaks what spells control, for one tokenizer or one kind of server."""

    def __init__(
        self, pattern: str, ids: frozenset[int] = frozenset(), forged: Callable[[str], Spans] = lambda text: ()
    ) -> None:
        """Break what ``pattern`` finds; empty finds nothing.

        Args:
            pattern: A regular expression.
            ids: Of the tokens of control.
            forged: Where a text turns into one of them although nothing was found, as (start, end).
        """
        self.ids = ids
        self._pattern = re.compile(pattern) if pattern else None
        self._forged = forged

    @classmethod
    def of_tokenizer(cls, tokenizer: Any, marks: Iterable[str] = ()) -> Self:
        """The rules for a tokenizer of the tokenizers library.

        Args:
            tokenizer: Stays as it is.
            marks: Further words that tell the turns of a chat.
        """
        content = json.loads(tokenizer.to_str())
        names = _controls(content)
        reader = type(tokenizer).from_str(tokenizer.to_str())
        reader.no_truncation()
        reader.no_padding()
        ids = _control_ids(tokenizer, names, content)

        def forged(text: str) -> Spans:
            read = reader.encode(text, add_special_tokens=False)
            return [span for token, span in zip(read.ids, read.offsets, strict=True) if token in ids]

        return cls(_pattern_of(names, marks), ids, forged if ids else lambda text: ())

    def spells(self, text: str) -> bool:
        """Whether something in the text is written as a token of control is."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def __call__(self, text: str) -> str:
        """The text, with every spelling broken."""
        for _ in range(ROUNDS):
            spans = self._spans(text)
            if not spans:
                return text
            for start, end in spans:
                text = f"{text[: start + 1]} {text[start + 1 :]}" if end - start > 1 else f"{text[:start]} {text[end:]}"
        for start, end in self._spans(text):
            text = text[:start] + " " * (end - start) + text[end:]
        return text

    def _spans(self, text: str) -> Spans:
        """Where to break, the last first."""
        found = [match.span() for match in self._pattern.finditer(text)] if self._pattern else []
        return sorted(found or [span for span in set(self._forged(text)) if span[1] > span[0]], reverse=True)


def _looks_like_control(text: str) -> Spans:
    """Where a text spells control once a server has folded wide letters and dropped what can't be seen."""
    if text.isascii() or re.search(_KNOWN, as_seen(text)) is None:
        return []
    seen = [(letter, position) for position, one in enumerate(text) for letter in as_seen(one)]
    found = re.finditer(_KNOWN, "".join(letter for letter, _ in seen))
    return [(seen[match.start()][1], seen[match.end() - 1][1] + 1) for match in found]


SERVED = PlainText(_KNOWN, forged=_looks_like_control)

_KEPT: weakref.WeakKeyDictionary[Any, PlainText] = weakref.WeakKeyDictionary()


def plain_for(tokenizer: Any) -> PlainText:
    """The rules for a tokenizer of transformers; made once for each."""
    known = _KEPT.get(tokenizer)
    if known is None:
        known = _KEPT[tokenizer] = _made_for(tokenizer)
    return known


def has_unread(ids: Iterable[int], spans: Iterable[tuple[int, int]], unknown: int | None) -> bool:
    """Whether a long stretch of a text became one token for unknown.

    A word of over 100 letters does, and so does a sentence of a script that writes no spaces and is not known.

    Args:
        ids: Of the text's tokens.
        spans: Where each begins and ends in the text, in characters.
        unknown: The id of the unknown token; ``None`` where there is none.
    """
    if unknown is None:
        return False
    return any(
        token == unknown and end - start > MOST_UNKNOWN_CHARACTERS
        for token, (start, end) in zip(ids, spans, strict=True)
    )


def unknown_id(tokenizer: Any) -> int | None:
    """The id of the unknown token of a tokenizer of the tokenizers library; ``None`` where it has none."""
    model = json.loads(tokenizer.to_str()).get("model") or {}
    known = tokenizer.token_to_id(str(model.get("unk_token")))
    return known if known is not None else model.get("unk_id")


def _control_ids(tokenizer: Any, names: Iterable[str], content: dict[str, Any]) -> frozenset[int]:
    """Ids of the tokens of control; the unknown one is none, since every unknown word becomes it."""
    model = content.get("model") or {}
    unknown = {tokenizer.token_to_id(str(model.get("unk_token"))), model.get("unk_id")}
    return frozenset(tokenizer.token_to_id(name) for name in names) - unknown - {None}


def _made_for(tokenizer: Any) -> PlainText:
    marks = _turn_marks(tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return PlainText.of_tokenizer(backend, (*marks, *_markup(tokenizer.all_special_tokens)))
    added = [str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]
    return PlainText(_pattern_of({*tokenizer.all_special_tokens, *_markup(added)}, marks))


def _controls(content: dict[str, Any]) -> set[str]:
    """The spellings of a tokenizer's tokens of control, from its JSON."""
    added = content.get("added_tokens") or []
    names = {token["content"] for token in added if token.get("special")}
    names |= set(_markup(token["content"] for token in added))
    names |= _in_post_processor(content.get("post_processor") or {})
    return {name for name in names if len(name) >= _LEAST_CHARACTERS and not name.isspace()}


def _in_post_processor(processor: dict[str, Any]) -> set[str]:
    names = set(processor.get("special_tokens") or ())
    names |= {str(processor[key][0]) for key in ("sep", "cls") if isinstance(processor.get(key), list)}
    for inner in processor.get("processors") or ():
        names |= _in_post_processor(inner)
    return names


def _markup(names: Iterable[str]) -> list[str]:
    return [name for name in names if _MARKUP.fullmatch(name)]


def _pattern_of(names: Iterable[str], marks: Iterable[str] = ()) -> str:
    known = {name for name in names if len(name) >= _LEAST_CHARACTERS}
    spelt = [re.escape(name) for name in sorted(known, key=lambda name: (-len(name), name))]
    spelt += [rf"(?<!\w){re.escape(mark)}" for mark in sorted(set(marks)) if len(mark) >= _LEAST_CHARACTERS]
    return "|".join(spelt)


_SAID = ("zqfirst", "zqsecond", "zqthird")


def _turn_marks(tokenizer: Any) -> set[str]:
    """What a chat template puts between turns as plain words, such as ``USER:``, where no token tells them apart."""
    if not getattr(tokenizer, "chat_template", None):
        return set()
    turns = [{"role": role, "content": said} for role, said in zip(("user", "assistant", "user"), _SAID, strict=True)]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception:  # noqa: BLE001 - a template may raise anything, and jinja has no common base with it
        return set()
    between = re.split("|".join(_SAID), text)[1:]
    return {line.strip() for piece in between for line in piece.splitlines() if line.strip()}
