"""How long does a small model take to write an answer of 25 tokens on one core?

Beside our loop: the library's own ``generate``, and the physical limit, every weight multiplied once a token. Times are
those of the processor, so that a busy machine says the same, more or less.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from cloud_worker.language.architectures import LanguageModel
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import byte_tokenizer
from router.core.domain.generation import Prompt
from router.core.domain.query import GenerationLimits
from router.students.writers.local_writer import LocalWriter

TOKENS = 25
ASKED = "turn the light number 17 to the colour 9 in room 3"
SHAPES = (("llama", 2, 192), ("t5", 2, 192), ("llama", 4, 256))


class Endless(LocalWriter):
    """Never ends an answer by itself, so that every answer has as many tokens."""

    def __init__(self, language: LanguageModel) -> None:
        """See ``LocalWriter``."""
        super().__init__(language)
        self._ends = frozenset()


def milliseconds(act: Callable[[], object], times: int = 12) -> float:
    """The least processor time of a call."""
    act()
    found = []
    for _ in range(times):
        began = time.process_time()
        act()
        found.append(time.process_time() - began)
    return 1e3 * min(found)


def limit(weights: int) -> float:
    """Of a matrix with so many weights, multiplied once for each token."""
    width = int(weights**0.5)
    matrix, vector = torch.rand(width, width), torch.rand(1, width)
    with torch.inference_mode():
        return milliseconds(lambda: [torch.nn.functional.linear(vector, matrix) for _ in range(TOKENS)])


def library(language: LanguageModel) -> Callable[[], Any]:
    """The library's own way to the same answer."""
    ids = torch.tensor([language.tokenizer(ASKED)["input_ids"]])

    def act() -> Any:
        with torch.inference_mode():
            return language.model.generate(
                input_ids=ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, output_logits=True,
                return_dict_in_generate=True,
            )  # fmt: skip

    return act


def main() -> None:
    """Print each time, then one JSON object."""
    torch.set_num_threads(1)
    texts = [
        f"turn the light number {position} to the colour {7 * position} in room {position % 13}"
        for position in range(2000)
    ]
    tokenizer = byte_tokenizer(texts, 2048, 256)
    rows = []
    for family, layers, width in SHAPES:
        language = make_model(family, tokenizer, Size(width=width, layers=layers, heads=4))
        language.model.set_attn_implementation("eager")
        weights = sum(weight.numel() for weight in language.model.parameters())
        writer, limits = Endless(language), GenerationLimits(max_tokens=TOKENS)
        row = {
            "model": f"{family} {layers} x {width}",
            "million_weights": round(weights / 1e6, 2),
            "ours": round(milliseconds(lambda: writer.write(Prompt(ASKED), limits)), 1),  # noqa: B023 - called at once
            "generate": round(milliseconds(library(language)), 1),
            "limit": round(limit(weights), 1),
        }
        rows.append(row)
        print(
            "{model:14} {million_weights:5} M  ours {ours:6} ms, generate {generate:6}, limit {limit:6}".format(**row)
        )
    print(json.dumps({"bench": "writing_speed", "tokens": TOKENS, "milliseconds": rows}))


if __name__ == "__main__":
    main()
