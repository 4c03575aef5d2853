"""Tables of several models' answers, real and made up, split into rows that choose and rows that judge.

Made up ones are of two kinds. In a generated world five models of growing ability share what makes a query hard, and
each says how sure it is in a way of its own: both ways, as a choice of four, or rounded. A world like a real table has
its confidences, drawn with a little noise, and verdicts drawn by a law fitted to a resample of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from cloud_worker.evaluation.answer_tables import AnswerTable, read_answers
from router.core.arrays import Array, Ints

FAMILIES = ("llama", "qwen_oai")
ROWS, TRAIN = 1800, 300
HIDDEN = 0.8  # spread of what makes a query hard and shows in no confidence
NOISE = 0.2  # of a confidence, in normal scores


@dataclass(frozen=True, slots=True)
class Table:
    """Answers of some models, from the cheapest on: (rows, models) each, and (models,) costs; ``train`` rows choose."""

    log_confidence: Array
    correct: Array
    costs: Array
    train: int

    def split(self, seed: int) -> tuple[Table, Table]:
        """Rows that choose, and the others, by a draw."""
        order = np.random.default_rng(seed).permutation(len(self.correct))
        return self._rows(order[: self.train]), self._rows(order[self.train :])

    def _rows(self, rows: Ints) -> Table:
        return Table(self.log_confidence[rows], self.correct[rows], self.costs, self.train)

    def only(self, models: tuple[int, ...]) -> Table:
        """Some of the models."""
        positions = list(models)
        return Table(self.log_confidence[:, positions], self.correct[:, positions], self.costs[positions], self.train)


def real_tables(folder: Path) -> dict[str, Table]:
    """Those of MMLU and GSM8K, by family of models; GSM8K has 300 rows, of which two thirds choose."""
    found = {}
    for family in FAMILIES:
        parts = [read_answers(folder / f"mmlu_{family}_{part}.csv.gz") for part in ("train", "test")]
        found[f"mmlu {family}"] = _joined(parts, TRAIN)
        found[f"gsm8k {family}"] = _joined([read_answers(folder / f"gsm8k_{family}_train.csv.gz")], 200)
    return found


def _joined(parts: list[AnswerTable], train: int) -> Table:
    sure, correct = (np.vstack([getattr(part, name) for part in parts]) for name in ("log_confidence", "correct"))
    return Table(sure, correct, np.asarray(parts[-1].usd) * 1e6, train)


def like(table: Table, seed: int) -> Table:
    """A world like a real table."""
    draw = np.random.default_rng(seed)
    rows, models = table.correct.shape
    ranks = np.argsort(np.argsort(table.log_confidence, axis=0), axis=0)
    known = norm.ppf((ranks + 0.5) / rows)
    drawn = known[draw.integers(0, rows, ROWS)] * np.sqrt(1 - NOISE**2) + NOISE * draw.normal(size=(ROWS, models))
    sure = [np.quantile(table.log_confidence[:, model], norm.cdf(drawn[:, model])) for model in range(models)]
    base, hard = draw.integers(0, rows, rows), draw.normal(size=ROWS)
    chances = [_law(known[base], table.correct[base, model], model)(drawn) for model in range(models)]
    correct = [draw.random(ROWS) < expit(1.15 * logit(chance) + HIDDEN * hard) for chance in chances]
    confidences = np.stack(sure, axis=1).astype(np.float64)
    return Table(confidences, np.stack(correct, axis=1).astype(np.float64), table.costs, TRAIN)


def _law(scores: Array, correct: Array, model: int) -> Callable[[Array], Array]:
    """Chance that a model is right, by its own normal score and the mean of all."""

    def seen(rows: Array) -> Array:
        return np.stack([rows[:, model], rows.mean(axis=1)], axis=1)

    if correct.min() == correct.max():
        return lambda rows: np.full(len(rows), np.clip(correct.mean(), 0.002, 0.998))
    fitted = LogisticRegression(C=0.5).fit(seen(scores), correct)
    return lambda rows: np.clip(fitted.predict_proba(seen(rows))[:, 1], 1e-4, 1 - 1e-4)


def generated(seed: int, models: int = 5) -> Table:
    """A generated world."""
    draw = np.random.default_rng(seed)
    ease, shared = draw.normal(size=(2, ROWS))
    ability, weight = 1.2 * np.sort(draw.normal(0.8, 1.0, models)), draw.uniform(0.3, 2.0)
    columns = []
    for model in range(models):
        odds = ability[model] + weight * ease + draw.uniform(0.2, 2.0) * draw.normal(size=ROWS)
        correct = draw.random(ROWS) < expit(odds)
        noise = draw.uniform(0.3, 3.0) * (0.5 * shared + draw.normal(size=ROWS))
        said = draw.uniform(0.5, 2.5) * odds + noise + draw.normal()
        sure = -np.logaddexp(0, -said)
        kind = draw.integers(3)
        if kind == 1:  # the likeliest of four
            sure = np.minimum(0.0, np.maximum(sure, np.log(0.25) + 0.3 * draw.random(ROWS)))
        elif kind == 2:  # rounded, so that many are certain
            sure = np.round(-np.logaddexp(0, -2 * said), 4) + 0.0
        columns.append((sure, correct.astype(float)))
    sure, correct = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    costs = np.asarray(10 * np.cumprod(draw.uniform(1.2, 5.0, models)), np.float64)
    return Table(sure, correct, costs, TRAIN)


def all_tables(folder: Path | None, worlds: int) -> Iterator[tuple[str, Table]]:
    """Every table, by its kind: as many worlds of each made-up kind."""
    real = {} if folder is None else real_tables(folder)
    yield from real.items()
    for kind, table in real.items():
        for seed in range(worlds):
            yield f"like {kind}", like(table, seed)
    for seed in range(4 * worlds):
        yield "generated", generated(seed)
