"""Train the teacher, or the model that students start from, in a process of its own: ``python -m demo.tools.making``.

Rules:
 * The teacher has seen requests to the home and their calls. The base has seen other requests and other tools: it knows
   how a call is written and how words are copied, and no phrase and no tool of the home.
 * One thread; the same kind and seed give the same model on the same machine.
 * Each line of standard output is the share done, in [0, 1].
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cloud_worker.language.architectures import LanguageModel
from cloud_worker.language.examples import Example
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.trainer import Progress, Schedule, fit
from demo.tools.grammar import ELSEWHERE, HOME, Grammar
from demo.tools.tokenizer import WINDOW, make_tokenizer
from demo.tools.workload import EXAMPLES, pairs

WORDS_FROM = 6000  # requests of each grammar that the tokenizer is made from


@dataclass(frozen=True, slots=True)
class Making:
    """How a model is made.

    Attributes:
        grammar: File of the requests that it learns.
        examples: How many of them.
        size: Of the model.
        schedule: Of its training.
    """

    grammar: str
    examples: int
    size: Size
    schedule: Schedule


MAKINGS = {
    "teacher": Making(
        HOME, EXAMPLES, Size(width=128, layers=3, heads=4, window=WINDOW), Schedule(steps=2000, batch=32, rate=3e-3)
    ),
    "base": Making(
        ELSEWHERE,
        EXAMPLES,
        Size(width=128, layers=2, heads=4, window=WINDOW),
        Schedule(steps=1500, batch=32, rate=3e-3),
    ),
}
FAMILY = "llama"


def make(making: Making, seed: int = 0, progress: Progress | None = None) -> LanguageModel:
    """Train a model.

    Args:
        making: How.
        seed: Of examples, weights and order.
        progress: Told the share done, in (0, 1].
    """
    grammar = Grammar.read(making.grammar)
    lines = pairs(grammar, making.examples, f"{making.grammar} {seed}")
    language = make_model(FAMILY, shared_tokenizer(), making.size, seed=seed)
    examples = [Example(line.text, line.label) for line in lines]
    fit(language, examples, making.schedule, progress)
    return language


def shared_tokenizer() -> Any:
    """The tokenizer of all models here: a teacher's token probabilities mean the same to a student."""
    grammars = [Grammar.read(name) for name in (HOME, ELSEWHERE)]
    texts = [line.text for grammar in grammars for line in pairs(grammar, WORDS_FROM, "words")]
    return make_tokenizer(texts, grammars)


def main(kind: str, folder: str, seed: str) -> None:
    """Train the model ``kind`` and save it in ``folder``."""
    torch.set_num_threads(1)

    def told(share: float) -> None:
        sys.stdout.write(f"{share:.4f}\n")
        sys.stdout.flush()

    make(MAKINGS[kind], int(seed), told).save(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
