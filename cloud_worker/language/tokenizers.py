"""Tokenizers made on the spot, by the ``tokenizers`` library.

Rules:
 * Special tokens come first, in one order: padding is 0, the start 1, the end 2, the unknown 3.
 * A prompt reads ``<s> ... </s>``: the end token tells a decoder where the question ends.
 * Word-level ones break numbers into digits; byte-level ones can write any text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from router.core.errors import BadInputError

PADDING, START, END, UNKNOWN, MASK = "<pad>", "<s>", "</s>", "<unk>", "<mask>"
DIGITS = "0 1 2 3 4 5 6 7 8 9 1234567890 0987654321"
FURTHER = "##"  # in front of a digit that goes on a number
MODES = ("[NLU]", "[NLG]", "[S2S]")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(32))
SPECIAL = (PADDING, START, END, UNKNOWN, MASK, *MODES, *SENTINELS)


def byte_tokenizer(texts: Iterable[str], vocabulary: int = 2048, window: int = 512) -> Any:
    """Byte-level BPE: any text comes back as it was.

    Args:
        texts: What to learn merges from.
        vocabulary: Most tokens, special ones included, at least 300 (256 bytes and the special tokens).
        window: Longest text in tokens.

    Raises:
        BadInputError: A vocabulary too small for bytes, or no text.
    """
    least = 256 + len(SPECIAL)
    if vocabulary < least:
        raise BadInputError("vocabulary", f"is {vocabulary}; use at least {least}, so that every byte has a token")
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(_some(texts), trainer)
    return _wrapped(inner, window)


def word_tokenizer(texts: Iterable[str], vocabulary: int = 8192, window: int = 512) -> Any:
    """Words in lower case, punctuation and digits: short sequences for small worlds.

    A number is spelt digit by digit and read back as one; spaces come back as a reader would set them.

    Args:
        texts: What to take the words from; others are unknown.
        vocabulary: Most tokens, special ones included.
        window: Longest text in tokens.

    Raises:
        BadInputError: No text.
    """
    inner = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    further = normalizers.Replace(Regex(r"(?<=\d)(?=\d)"), FURTHER)
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), further])
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{FURTHER}\d|\d|[^\W\d]+|[^\w\s]"), "removed", invert=True)
    inner.decoder = decoders.WordPiece(prefix=FURTHER, cleanup=True)
    trainer = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    found = _some(texts)
    inner.train_from_iterator([*found, *[DIGITS] * len(found)], trainer)  # often enough to be kept
    return _wrapped(inner, window)


def _some(texts: Iterable[str]) -> list[str]:
    found = [text for text in texts if text.strip()]
    if not found:
        raise BadInputError("texts", "hold nothing to make a tokenizer from")
    return found


def _wrapped(inner: Tokenizer, window: int) -> Any:
    ids = [(token, inner.token_to_id(token)) for token in (START, END)]
    inner.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=window,
        pad_token=PADDING,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        mask_token=MASK,
        additional_special_tokens=[*MODES, *SENTINELS],
    )
