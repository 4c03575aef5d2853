"""``headrace-cloud evaluate``: what cascades of given models would cost and get wrong.

Thresholds are chosen on one table of answers and applied to another.

Rules:
 * Nothing of the test table chooses anything.
 * All chains are resampled together, so that the interval of their mean is of paired figures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cloud_worker.answer_tables import (
    AnswerTable,
    answer_costs,
    chain_name,
    parse_chains,
    read_answers,
    read_bounds,
    read_prices,
)
from cloud_worker.commands import errors_as_exit_codes
from router.errors import ConfigError, DataError
from router.evaluation import Curve, Interval, apgr, aurc, cost_error, cpt

Array = NDArray[np.float64]

POLICIES = 160  # of one path
PRICES = (1e-4, 1e2)  # of the cost of the whole chain, in errors: from "always go on" to "never"
LEVELS = (0.5, 0.8)  # of the gap between the chain's ends, for CPT


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """What one chain does on the test table.

    Attributes:
        cascade: Its name, as ``0->3``.
        models: Its models.
        curve: Error over cost.
        area: Mean error between the bounds, and its bootstrap interval.
        apgr: Share of the gap between first and last model recovered, over the share of the dearest way's cost.
        cpt: Least share of that cost that recovers half and 80 % of the gap; ``None`` without a gap.
        random: ``area`` of a coin between first and last model.
        oracle: ``area`` of a chain that stops at the first right answer.
    """

    cascade: str
    models: tuple[str, ...]
    curve: Curve
    area: Interval
    apgr: float | None
    cpt: tuple[float, ...] | None
    random: float
    oracle: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All chains, their mean area, and each model's accuracy and area under its risk-coverage curve."""

    chains: tuple[ChainFigures, ...]
    mean_area: Interval
    models: tuple[tuple[str, float, float], ...]


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
        chains: Models of each chain, in the order in which they are asked.
        prices: USD per million tokens; without them the table's own costs count.
        bounds: Between which costs each chain's area is taken, by its name; else between its cheapest and dearest way.
        repeats: Resamples of the intervals.

    Raises:
        DataError: The bounds miss a chain.
    """
    resamples = _resamples(len(test.correct), repeats)
    figures, areas = [], []
    for chain in chains:
        name = chain_name(chain, test.models)
        costs, errors, known = _path(train.only(chain), test.only(chain), prices)
        if bounds is not None and name not in bounds:
            raise DataError("--bounds", 0, f"has no row for cascade {name}")
        low, high = bounds[name] if bounds is not None else (float(known[0]), float(known.sum()))
        figure, drawn = _figures(name, test.only(chain), (costs, errors), known, (low, high), resamples)
        figures.append(figure)
        areas.append(drawn)
    mean = float(np.mean([figure.area.value for figure in figures]))
    models = tuple(
        (model, float(test.correct[:, place].mean()), aurc(test.log_confidence[:, place], test.correct[:, place] == 1))
        for place, model in enumerate(test.models)
    )
    return Evaluation(tuple(figures), _interval(mean, np.mean(areas, axis=0)), models)


def evaluate(
    train: Annotated[Path, typer.Option(help="Answers that thresholds are chosen on.", metavar="TABLE")],
    test: Annotated[Path, typer.Option(help="Answers that they are applied to.", metavar="TABLE")],
    chains: Annotated[str, typer.Option(help="'all', or chains as 'm1,m2;m1,m3'.")] = "all",
    prices: Annotated[Path | None, typer.Option(help="TOML: model = USD per million tokens.", metavar="FILE")] = None,
    bounds: Annotated[Path | None, typer.Option(help="CSV: cascade,cost_lo,cost_hi.", metavar="FILE")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the curves here.", metavar="FILE")] = None,
    repeats: Annotated[int, typer.Option(help="Resamples of the intervals.", min=1)] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what cascades of several models cost and get wrong, from tables of their answers."""
    with errors_as_exit_codes():
        priced = read_prices(prices) if prices else None
        old, new = (_ordered(path, priced) for path in (train, test))
        if old.models != new.models:
            raise DataError(str(test), 0, f"has the models {', '.join(new.models)}, and {train} has others")
        found = evaluate_chains(
            old,
            new,
            parse_chains(chains, new.models),
            prices=priced,
            bounds=read_bounds(bounds) if bounds else None,
            repeats=repeats,
        )
        if picture:
            draw_curves(found, picture)
        if as_json:
            typer.echo(json.dumps(as_json_object(found)))
        else:
            show_evaluation(Console(highlight=False), found)


def as_json_object(found: Evaluation) -> dict[str, object]:
    """What ``--json`` prints."""
    chains = [
        {"cascade": figure.cascade, "area": figure.area.value, "low": figure.area.low, "high": figure.area.high}
        for figure in found.chains
    ]
    return {"chains": chains, "mean_area": found.mean_area.value}


def show_evaluation(console: Console, found: Evaluation) -> None:
    """Print models and chains as tables."""
    models = Table("no.", "model", "accuracy", "AURC")
    for number, (name, accuracy, risk) in enumerate(found.models):
        models.add_row(str(number), name, f"{accuracy:.3f}", f"{risk:.3f}")
    console.print(models)
    rows = Table("cascade", "area", "95 %", "random", "oracle", "APGR", "CPT50", "CPT80")
    for figure in found.chains:
        interval = f"{figure.area.low:.3f}-{figure.area.high:.3f}"
        gap = ["-"] * 3 if figure.cpt is None else [f"{figure.apgr:.3f}", *(f"{100 * cpt:.1f}" for cpt in figure.cpt)]
        random, oracle = f"{figure.random:.4f}", f"{figure.oracle:.4f}"
        rows.add_row(figure.cascade, f"{figure.area.value:.4f}", interval, random, oracle, *gap)
    console.print(rows)
    mean = found.mean_area
    console.print(f"mean area {mean.value:.4f}  ({mean.low:.4f} to {mean.high:.4f})")


def draw_curves(found: Evaluation, path: Path) -> None:
    """Draw error over cost, one line per chain.

    Raises:
        ConfigError: matplotlib is not installed, or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("--picture", "", "needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="cost of a query", ylabel="error", xscale="log")
    for chain in found.chains:
        axes.plot(chain.curve.x, chain.curve.y, label=chain.cascade, linewidth=1)
    axes.legend(fontsize="x-small", ncols=2)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError("--picture", str(path), f"can't be written: {error}") from error


def _ordered(path: Path, prices: dict[str, float] | None) -> AnswerTable:
    table = read_answers(path)
    if prices is None:
        return table
    missing = [model for model in prices if model not in table.models]
    if missing:
        raise DataError(str(path), 0, f"has no answers of {missing[0]!r}, which has a price")
    return table.only(tuple(prices))


def _path(train: AnswerTable, test: AnswerTable, prices: dict[str, float] | None) -> tuple[Array, Array, Array]:
    """Cost and error of each policy for each test row, each (policies, rows), and the models' costs."""
    from router.chain import fit_chain  # scipy: half a second

    costs = answer_costs(test, prices)
    path = np.geomspace(*PRICES, POLICIES) / costs.sum()
    chain = fit_chain(train.log_confidence, train.correct, costs, path)
    stops = chain.stops(test.log_confidence)
    return chain.spent(stops), 1.0 - test.correct[np.arange(len(test.correct)), stops], costs


def _figures(
    name: str,
    test: AnswerTable,
    path: tuple[Array, Array],
    costs: Array,
    bounds: tuple[float, float],
    resamples: Array,
) -> tuple[ChainFigures, Array]:
    """A chain's figures, and its area under each resample."""
    curve = cost_error(*path)
    drawn = np.array([cost_error(*path, weights=weights).area(*bounds) for weights in resamples])
    ends = np.array([costs[0], costs.sum()])
    first, last = (1.0 - test.correct[:, place].mean() for place in (0, -1))
    recovered = None
    if last < first:
        share = np.clip((curve.x - costs[0]) / costs[1:].sum(), 0, 1)
        recovered = Curve(np.concatenate([[0.0], share, [1.0]]), 1 - np.concatenate([[first], curve.y, [last]]))
    figure = ChainFigures(
        cascade=name,
        models=test.models,
        curve=curve,
        area=_interval(curve.area(*bounds), drawn),
        apgr=apgr(recovered) if recovered else None,
        cpt=tuple(cpt(recovered, level) for level in LEVELS) if recovered else None,
        random=Curve(ends, np.array([first, last])).area(*bounds),
        oracle=_oracle(test.correct, costs).area(*bounds),
    )
    return figure, drawn


def _oracle(correct: Array, costs: Array) -> Curve:
    """Error over cost of stopping at the first right answer, cheapest gains first, at the first model if none is."""
    passed = np.cumsum(costs)
    right = correct.max(axis=1) == 1
    more = np.sort(passed[np.argmax(correct[right], axis=1)] - costs[0])
    more = more[more > 0]
    x = costs[0] + np.append(0.0, np.cumsum(more)) / len(correct)
    y = 1.0 - correct[:, 0].mean() - np.arange(len(more) + 1) / len(correct)
    return Curve(x, y)


def _resamples(rows: int, repeats: int) -> Array:
    draw = np.random.default_rng(0)
    return np.array([np.bincount(draw.integers(0, rows, rows), minlength=rows) for _ in range(repeats)], np.float64)


def _interval(value: float, drawn: Array) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
