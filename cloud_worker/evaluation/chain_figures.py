"""What chains of given models do on a table of answers: curves, figures and their bootstrap intervals.

Rules:
 * Everything that chooses is fitted on one table, with its costs, and measured on another, with that one's costs.
 * All chains and models are resampled together, so that the interval of a mean is of paired figures.
 * A coin between a chain's ends, and a chain that knows who is right, stand beside every figure that they have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloud_worker.evaluation.answer_tables import AnswerTable, answer_costs, chain_name
from router.core.arrays import Array
from router.core.errors import DataError
from router.core.evaluation.cascade_curves import Curve, Interval, apgr, aurc, cost_error, cpt, risk_coverage

POLICIES = 160  # of one path
PRICES = (1e-4, 1e2)  # of the cost of the whole chain, in errors: from "always go on" to "never"
LEVELS = (0.5, 0.8)  # of the gap between the chain's ends, for CPT


@dataclass(frozen=True, slots=True)
class Recovered:
    """A figure of how much of the gap between a chain's ends is recovered, and the same of the oracle."""

    interval: Interval
    oracle: float


@dataclass(frozen=True, slots=True)
class Gap:
    """What a chain recovers of the gap in accuracy between its first and its last model.

    Attributes:
        apgr: Share recovered, on average over what can be paid beyond the first model; a coin has 0.5.
        cpt: Least share of that cost that recovers each of ``LEVELS``; a coin needs as much.
        resamples: Share of the resamples that have a gap too; the intervals are of those.
    """

    apgr: Recovered
    cpt: tuple[Recovered, ...]
    resamples: float


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """What one chain does on the test table.

    Attributes:
        cascade: Its name, as ``0->3``.
        models: Its models.
        curve: Error over cost.
        area: Mean error between the bounds, and its bootstrap interval.
        random: Error over cost of a coin between first and last model.
        random_area: ``area`` of it.
        oracle: Error over cost of a chain that stops at the first right answer.
        oracle_area: ``area`` of it.
        gap: ``None`` where the last model is no better than the first.
    """

    cascade: str
    models: tuple[str, ...]
    curve: Curve
    area: Interval
    random: Curve
    random_area: float
    oracle: Curve
    oracle_area: float
    gap: Gap | None


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """How well one model's confidence ranks its answers.

    Attributes:
        model: Its name.
        error: Share of wrong answers, in [0, 1]; also the AURC of a ranking by chance.
        curve: Error among the answers kept, over the share kept.
        aurc: Area under it, and its bootstrap interval.
        oracle: The same of a ranking that knows which answers are right.
    """

    model: str
    error: float
    curve: Curve
    aurc: Interval
    oracle: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of all chains, their mean area, and those of all models."""

    chains: tuple[ChainFigures, ...]
    mean_area: Interval
    models: tuple[ModelFigures, ...]


@dataclass(frozen=True, slots=True)
class _Path:
    """A path of policies on the test table: costs and errors, each (policies, rows), and (models,) costs of answers."""

    spent: Array
    errors: Array
    costs: Array

    def curve(self, weights: Array | None = None) -> Curve:
        return cost_error(self.spent, self.errors, weights)


def evaluate_chains(
    train: AnswerTable,
    test: AnswerTable,
    chains: list[tuple[str, ...]],
    *,
    prices: dict[str, float] | None = None,
    bounds: dict[str, tuple[float, float]] | None = None,
    repeats: int = 1000,
) -> Evaluation:
    """Tune every chain on ``train`` and measure it on ``test``.

    Args:
        train: Older answers.
        test: Answers of the same models.
        chains: Models of each chain, in the order in which they are asked; at least one.
        prices: USD per million tokens; without them the table's own costs count.
        bounds: Between which costs each chain's area is taken, by its name; else between its cheapest and dearest way.
        repeats: Resamples of the intervals.

    Raises:
        DataError: The bounds miss a chain, or a chain has nothing to save.
    """
    resamples = _resamples(len(test.correct), repeats)
    figures, areas = [], []
    for chain in chains:
        name = chain_name(chain, test.models)
        if bounds is not None and name not in bounds:
            raise DataError("--bounds", 0, f"has no row for cascade {name}")
        path = _path(name, train.only(chain), test.only(chain), prices)
        between = bounds[name] if bounds is not None else (float(path.costs[0]), float(path.costs.sum()))
        figure, drawn = _figures(name, test.only(chain), path, between, resamples)
        figures.append(figure)
        areas.append(drawn)
    mean = float(np.mean([figure.area.value for figure in figures]))
    models = tuple(_model(test, position, resamples) for position in range(len(test.models)))
    return Evaluation(tuple(figures), _interval(mean, np.mean(areas, axis=0)), models)


def _path(name: str, train: AnswerTable, test: AnswerTable, prices: dict[str, float] | None) -> _Path:
    from router.core.evaluation.model_chain import fit_chain, spent  # scipy: half a second

    known, costs = (_costs(name, table, prices) for table in (train, test))
    path = np.geomspace(*PRICES, POLICIES) / known.sum()
    stops = fit_chain(train.log_confidence, train.correct, known, path).stops(test.log_confidence)
    return _Path(spent(stops, costs), 1.0 - test.correct[np.arange(len(test.correct)), stops], costs)


def _costs(name: str, table: AnswerTable, prices: dict[str, float] | None) -> Array:
    costs = answer_costs(table, prices)
    if not costs.sum() > costs[0]:
        problem = "its dearest way costs no more than its cheapest; say what answers cost, in cost_usd or by --prices"
        raise DataError("--chains", 0, f"chain {name}: {problem}")
    return costs


def _figures(
    name: str, test: AnswerTable, path: _Path, bounds: tuple[float, float], resamples: Array
) -> tuple[ChainFigures, Array]:
    """A chain's figures, and its area under each resample."""
    curve, curves = path.curve(), [path.curve(weights) for weights in resamples]
    drawn = np.array([one.area(*bounds) for one in curves])
    oracle = _oracle(test.correct, path.costs)
    first, last = _ends(test.correct)
    random = Curve(np.array([path.costs[0], path.costs.sum()]), 1.0 - np.array([first, last]))
    figure = ChainFigures(
        cascade=name,
        models=test.models,
        curve=curve,
        area=_interval(curve.area(*bounds), drawn),
        random=random,
        random_area=random.area(*bounds),
        oracle=oracle,
        oracle_area=oracle.area(*bounds),
        gap=_gap(test.correct, path.costs, (curve, *curves), oracle, resamples) if last > first else None,
    )
    return figure, drawn


def _gap(correct: Array, costs: Array, curves: tuple[Curve, ...], oracle: Curve, resamples: Array) -> Gap:
    """What a chain recovers; the first of ``curves`` is of all rows, the others of the resamples."""
    ends = [_ends(correct), *(_ends(correct, weights) for weights in resamples)]
    found = np.array(
        [_recovered(curve, costs, pair) for curve, pair in zip(curves, ends, strict=True) if pair[1] > pair[0]]
    )  # (with a gap, 1 + levels)
    best = _recovered(oracle, costs, ends[0])
    apgr_found, *cpt_found = (
        Recovered(_interval(float(column[0]), column[1:] if len(column) > 1 else column), float(known))
        for column, known in zip(found.T, best, strict=True)
    )
    return Gap(apgr_found, tuple(cpt_found), (len(found) - 1) / len(resamples))


def _recovered(curve: Curve, costs: Array, ends: tuple[float, float]) -> list[float]:
    """APGR, and CPT of each level, of a curve of errors over cost whose chain's ends are right as often as ``ends``."""
    share = np.clip((curve.x - costs[0]) / costs[1:].sum(), 0, 1)
    y = 1.0 - curve.y
    whole = Curve(np.concatenate([[0.0], share, [1.0]]), np.concatenate([[ends[0]], y, [max(ends[1], y[-1])]]))
    return [apgr(whole, ends), *(cpt(whole, level, ends) for level in LEVELS)]


def _ends(correct: Array, weights: Array | None = None) -> tuple[float, float]:
    """How often the first and the last model are right."""
    first, last = np.average(correct[:, [0, -1]], axis=0, weights=weights)
    return float(first), float(last)


def _oracle(correct: Array, costs: Array) -> Curve:
    """Error over cost of stopping at the first right answer, cheapest gains first, at the first model if none is."""
    passed = np.cumsum(costs)
    right = correct.max(axis=1) == 1
    more = np.sort(passed[np.argmax(correct[right], axis=1)] - costs[0])
    more = more[more > 0]
    x = costs[0] + np.append(0.0, np.cumsum(more)) / len(correct)
    y = 1.0 - correct[:, 0].mean() - np.arange(len(more) + 1) / len(correct)
    return Curve(x, y)


def _model(test: AnswerTable, position: int, resamples: Array) -> ModelFigures:
    scores, correct = test.log_confidence[:, position], test.correct[:, position] == 1
    drawn = np.array([aurc(scores, correct, weights) for weights in resamples])
    return ModelFigures(
        model=test.models[position],
        error=float(1.0 - correct.mean()),
        curve=risk_coverage(scores, correct),
        aurc=_interval(aurc(scores, correct), drawn),
        oracle=aurc(correct.astype(np.float64), correct),
    )


def _resamples(rows: int, repeats: int) -> Array:
    draw = np.random.default_rng(0)
    return np.array([np.bincount(draw.integers(0, rows, rows), minlength=rows) for _ in range(repeats)], np.float64)


def _interval(value: float, drawn: Array) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
