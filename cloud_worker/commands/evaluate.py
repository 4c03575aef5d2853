"""``headrace-cloud evaluate``: what cascades of given models would cost and get wrong.

Thresholds are chosen on one table of answers and applied to another.

Rules:
 * Nothing of the test table chooses anything.
 * What is left out of the figures is said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from cloud_worker.commands.options import errors_as_exit_codes
from cloud_worker.evaluation.answer_tables import AnswerTable, parse_chains, read_answers, read_bounds, read_prices
from cloud_worker.evaluation.chain_figures import (
    LEVELS,
    ChainFigures,
    Evaluation,
    ModelFigures,
    Recovered,
    evaluate_chains,
)
from cloud_worker.evaluation.text import draw_curves, show_evaluation
from router.core.errors import DataError
from router.io.terminal import Screen, say

COVERAGES = 20  # at which the risk is told: every 5 %


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
    """Say what cascades of several models cost and get wrong, from tables of their answers.

    Example: headrace-cloud evaluate --train train.csv.gz --test test.csv.gz --prices prices.toml --picture curves.svg
    """
    with errors_as_exit_codes():
        priced = read_prices(prices) if prices else None
        old, new = (_ordered(path, priced) for path in (train, test))
        if set(old.models) != set(new.models):
            raise DataError(str(test), 0, f"has the models {', '.join(new.models)}, and {train} has others")
        found = evaluate_chains(
            old,
            new.only(old.models),
            parse_chains(chains, old.models),
            prices=priced,
            bounds=read_bounds(bounds) if bounds else None,
            repeats=repeats,
        )
        if picture:
            draw_curves(found, picture)
        if as_json:
            say(json.dumps(as_json_object(found)))
        else:
            show_evaluation(Screen(), found)


def as_json_object(found: Evaluation) -> dict[str, Any]:
    """What ``--json`` prints; ``docs/evaluate.md`` says what the keys mean."""
    models = {figures.model: _model(figures) for figures in found.models}
    chains = [_chain(figures) | {"models": [models[name] for name in figures.models]} for figures in found.chains]
    return {"chains": chains, "mean_area": found.mean_area.value}


def _chain(figures: ChainFigures) -> dict[str, Any]:
    area, gap = figures.area, figures.gap
    levels = (f"cpt{100 * level:.0f}" for level in LEVELS)
    recovered = (gap.apgr, *gap.cpt) if gap else (None,) * (1 + len(LEVELS))
    return {
        "cascade": figures.cascade,
        "area": area.value,
        "low": area.low,
        "high": area.high,
        "random": figures.random_area,
        "oracle": figures.oracle_area,
        **{name: _recovered(one) for name, one in zip(("apgr", *levels), recovered, strict=True)},
        "resamples_with_gap": gap.resamples if gap else None,
        "curve": {"cost": figures.curve.x.tolist(), "error": figures.curve.y.tolist()},
    }


def _recovered(found: Recovered | None) -> dict[str, float] | None:
    if found is None:
        return None
    interval = found.interval
    return {"value": interval.value, "low": interval.low, "high": interval.high, "oracle": found.oracle}


def _model(figures: ModelFigures) -> dict[str, Any]:
    coverages = (np.arange(COVERAGES) + 1) / COVERAGES
    aurc = figures.aurc
    return {
        "model": figures.model,
        "error": figures.error,
        "aurc": {"value": aurc.value, "low": aurc.low, "high": aurc.high, "oracle": figures.oracle},
        "risk_coverage": {"coverage": coverages.tolist(), "risk": [figures.curve.at(share) for share in coverages]},
    }


def _ordered(path: Path, prices: dict[str, float] | None) -> AnswerTable:
    """A table's models in the order of their prices; those without one are left out, and said."""
    table = read_answers(path)
    if prices is None:
        return table
    missing = [model for model in prices if model not in table.models]
    if missing:
        raise DataError(str(path), 0, f"has no answers of {missing[0]!r}, which has a price")
    unpriced = [model for model in table.models if model not in prices]
    if unpriced:
        say(f"headrace-cloud: {path}: left out, since they have no price: {', '.join(unpriced)}", err=True)
    return table.only(tuple(prices))
