"""``denoise``: practise on the queries themselves before learning their answers.

Tay et al. 2022, "Transcending Scaling Laws with 0.1% Extra Compute" (UL2R): a mixture of denoisers over unlabelled
text. R hides short spans, X hides long or many, S hides the rest of the text; a mode token tells the student which.
Spans are of words, so that any tokenizer will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cloud_worker.language.examples import Example, Lessons, gather, group_of
from cloud_worker.language.tokenizers import MODES, SENTINELS
from router.core.domain.record import Record


@dataclass(frozen=True, slots=True)
class Denoiser:
    """One way to hide words.

    Attributes:
        mode: Token in front of the prompt.
        share: Of words hidden, in (0, 1).
        span: Mean length of a hidden span in words; 0 hides the end of the text in one piece.
        weight: How often it is drawn, relative to the others.
    """

    mode: str
    share: float
    span: int
    weight: float


# Tay et al. 2022, section 3: R with 15 % and short spans, X with long spans or half of the text, S a split; half is S.
MIXTURE = (
    Denoiser(MODES[0], 0.15, 3, 0.25),
    Denoiser(MODES[1], 0.15, 8, 0.125),
    Denoiser(MODES[1], 0.5, 3, 0.125),
    Denoiser(MODES[2], 0.5, 0, 0.5),
)


def denoise(records: Sequence[Record], mixture: Sequence[Denoiser] = MIXTURE, seed: int = 0) -> Lessons[Example]:
    """The query with words hidden -> the hidden words. Answers are not looked at, so any logged query will do.

    Args:
        records: Rows of the log.
        mixture: The ways to hide words.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    weights = np.array([one.weight for one in mixture])
    chosen = generator.choice(len(mixture), size=len(records), p=weights / weights.sum())
    return gather(
        [(record, _example(record, mixture[row], generator)) for record, row in zip(records, chosen, strict=True)]
    )


def _example(record: Record, denoiser: Denoiser, generator: np.random.Generator) -> list[Example] | str:
    words = record.text.split()
    if len(words) < 3:
        return "query has fewer than three words"
    prompt, target = corrupt(words, denoiser, generator)
    return [Example(f"{denoiser.mode} {prompt}", target, 1.0, group_of(record))]


def corrupt(words: Sequence[str], denoiser: Denoiser, generator: np.random.Generator) -> tuple[str, str]:
    """Hide words, at least one and never all: the text with sentinels, and what they stand for."""
    hidden = min(len(words) - 1, max(1, round(denoiser.share * len(words))))
    if denoiser.span == 0:
        split = len(words) - hidden
        return f"{' '.join(words[:split])} {SENTINELS[0]}", f"{SENTINELS[0]} {' '.join(words[split:])}"
    spans = min(len(SENTINELS), max(1, round(hidden / denoiser.span)), len(words) - hidden)
    lengths = _pieces(hidden, spans, generator)
    gaps = _pieces(len(words) - hidden + 2, spans + 1, generator)  # inner ones of at least a word: spans never touch
    gaps[0], gaps[-1] = gaps[0] - 1, gaps[-1] - 1
    return _woven(words, lengths, gaps)


def _woven(words: Sequence[str], lengths: Sequence[int], gaps: Sequence[int]) -> tuple[str, str]:
    seen: list[str] = []
    missing: list[str] = []
    position = 0
    for sentinel, gap, length in zip(SENTINELS, gaps, lengths, strict=False):
        seen += [*words[position : position + gap], sentinel]
        missing += [sentinel, *words[position + gap : position + gap + length]]
        position += gap + length
    return " ".join([*seen, *words[position:]]), " ".join(missing)


def _pieces(total: int, count: int, generator: np.random.Generator) -> list[int]:
    """``total`` cut at random into ``count`` pieces of at least one."""
    cuts = sorted(generator.choice(np.arange(1, total), size=count - 1, replace=False).tolist())
    edges = [0, *cuts, total]
    return [after - before for before, after in pairwise(edges)]
