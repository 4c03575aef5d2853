"""How much a linear head's weights are held back: chosen anew at each fit, on rows that its candidates did not learn.

With few answers a class, or a reference that does not contradict itself, a strong ridge under-fits; with many answers,
some of them contradicting, a weak one learns the contradictions. No one ridge suits both (docs/decisions/0150).

Rules:
 * What judges is the held-out cross-entropy of the reference's answers, at the temperature that suits each candidate:
   its calibration will set that anyway, and a proper score needs fewer rows than a share that is kept.
 * Too few rows choose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from router.core.arrays import Array, Ints

RIDGES = (0.5, 0.05, 0.005, 0.0005)  # of the head's weights, shared by all lessons: 1 / C in scikit-learn's words
DEFAULT = 0.05
LEAST_ROWS = 30  # that choose
LOG_TEMPERATURES = np.linspace(np.log(0.05), np.log(20.0), 25)


def chosen_ridge(logits: Mapping[float, Array], answers: Ints, weights: Array) -> float:
    """The ridge of the candidate whose probabilities suit rows best that it did not learn.

    Args:
        logits: Each candidate's, (rows, labels), by its ridge; ``DEFAULT`` is one of them.
        answers: (rows,) position of the reference's answer among the labels, -1 where no student knows it.
        weights: (rows,) one over the propensity, > 0.
    """
    known = np.flatnonzero(answers >= 0)
    if len(known) < LEAST_ROWS:
        return DEFAULT
    costs = {ridge: held_out_cost(said[known], answers[known], weights[known]) for ridge, said in logits.items()}
    return min(costs, key=costs.__getitem__)


def held_out_cost(logits: Array, answers: Ints, weights: Array) -> float:
    """Mean cross-entropy in nats of answers, at the temperature of ``LOG_TEMPERATURES`` at which it is least."""
    rows = np.arange(len(answers))
    costs = []
    for temperature in np.exp(LOG_TEMPERATURES):
        scaled = logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        logs = scaled[rows, answers] - np.log(np.exp(scaled).sum(axis=1))
        costs.append(-np.average(logs, weights=weights))
    return float(min(costs))
