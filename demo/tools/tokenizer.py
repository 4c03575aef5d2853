"""One tokenizer for requests and calls, in which a word is the same token in both.

Rules:
 * What a call is built from, the tools' heads, the arguments' names and brackets, is one token each.
 * A value starts with a space inside, as a word in a request does, and is written without: copying is copying a token.
 * Any text comes back as it was, up to spaces around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, decoders, pre_tokenizers

from cloud_worker.language.tokenizers import byte_tokenizer
from demo.tools.grammar import Grammar

WINDOW = 512
VOCABULARY = 2048

_BRACKETS = ('",', '"}}', '"}}]', '"}},', "}}", "}}]", "}},")


def make_tokenizer(texts: Sequence[str], grammars: Sequence[Grammar], vocabulary: int = VOCABULARY) -> Any:
    """A tokenizer.

    Args:
        texts: Requests to take the words from.
        grammars: Their tools and arguments are tokens.
        vocabulary: Most tokens made from the words.
    """
    tokenizer = byte_tokenizer([f" {text}" for text in texts], vocabulary, WINDOW)
    structure = [*_BRACKETS, *(token for grammar in grammars for token in _structure(grammar))]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in dict.fromkeys(structure)])
    inner = tokenizer.backend_tokenizer
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(Regex('(?<=":"?) '), "")])
    return tokenizer


def _structure(grammar: Grammar) -> list[str]:
    heads = [f'{{"name":"{tool}","arguments":{{' for tool in grammar.tools]
    keys = [f'"{argument}":' for argument in grammar.arguments]
    return [*heads, *(f"[{head}" for head in heads), *keys, *(f'{key}"' for key in keys)]
