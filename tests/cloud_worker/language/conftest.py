"""Tiny tokenizers and log rows for the language tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from cloud_worker.language.tokenizers import word_tokenizer
from router.core.domain.record import Record

Row = Callable[..., Record]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def words() -> Any:
    """A tokenizer for a world of few words."""
    texts = [
        "predict: explain: switch the red green blue light on off",
        "lights_on lights_off lights on off. 12 + 34 = 56 the answer is red green blue, so it holds",
    ]
    return word_tokenizer(texts, window=64)


@pytest.fixture
def row() -> Row:
    """Makes a record; keywords are its fields."""

    def make(text: str = "switch the light on", answer: str = "lights_on", **changes: Any) -> Record:
        number = str(changes.pop("number", 0))
        record = Record("device", number, "big", "1", "home", 1, 0.0, 0.0, text, answer)
        return replace(record, **changes)

    return make
