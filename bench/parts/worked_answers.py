"""What a worked arithmetic answer tells of itself, read without knowing the truth."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from cloud_worker.language.rationales import evaluate

_STEP = re.compile(r"<<([^=<>]+)=([^<>]+)>>")
_NUMBER = re.compile(r"\d+\.?\d*")
_FINAL = "####"


def signs(question: str, answer: str) -> list[float]:
    """Lengths, steps, steps that don't compute, numbers of the question left unused, and the shape of the result."""
    steps = _STEP.findall(answer)
    wrong = sum(not _holds(left, right) for left, right in steps)
    asked, used = (set(_NUMBER.findall(text.replace(",", ""))) for text in (question, answer))
    found = _NUMBER.findall(answer.split(_FINAL)[-1].replace(",", ""))
    result = float(found[-1]) if found else 0.0
    return [
        np.log1p(len(answer)),
        np.log1p(len(question)),
        np.log1p(len(steps)),
        float(wrong),
        float(wrong > 0),
        float(not steps),
        len(asked - used) / (len(asked) + 1),
        float(len(asked)),
        float(_FINAL in answer),
        float(result != int(result)),
        np.log1p(result),
        float(answer.count("\n")),
        float("%" in question),
        float("/" in answer),
    ]


def standardised(features: NDArray[np.float64], train: NDArray[np.int_]) -> NDArray[np.float64]:
    """Features (rows, signs) on the scale of the train rows."""
    scale = features[train].std(axis=0)
    return np.asarray((features - features[train].mean(axis=0)) / np.where(scale > 0, scale, 1.0))


def _holds(left: str, right: str) -> bool:
    value, said = (evaluate(side.replace("%", "/100").replace(",", "")) for side in (left, right))
    return value is not None and said is not None and abs(value - said) <= 0.01 * max(1.0, abs(said))
