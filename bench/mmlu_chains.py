"""Do chains tuned along one path reach the published areas on the 26 MMLU chains?

Thresholds are chosen on train, applied to test; published figures are read from the same folder. Lower is better. Two
intervals of the mean change: over resampled queries, all chains together, where the published areas are constants since
only they are published; and a paired bootstrap over the chains, each with its own difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud_worker.evaluation.answer_tables import parse_chains, read_answers, read_bounds
from cloud_worker.evaluation.chain_figures import evaluate_chains

REPEATS = 10_000
PRICES = {  # USD per million tokens; their order numbers the models
    "llama3.2-1b": 0.10,
    "llama3.2-3b": 0.10,
    "llama3.1-8b": 0.20,
    "llama3.1-70b": 0.90,
    "llama3.1-405b": 3.00,
}


def paired(differences: NDArray[np.float64]) -> list[float]:
    """95 % interval of a mean difference, by resampling its pairs."""
    drawn = np.random.default_rng(0).integers(len(differences), size=(REPEATS, len(differences)))
    return [round(float(value), 5) for value in np.quantile(differences[drawn].mean(axis=1), (0.025, 0.975))]


def main() -> None:
    """Print each chain, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="of the bootstrap over queries")
    options = parser.parse_args()
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "cascades"
    published_file = folder / "published_mmlu.csv"
    if not published_file.exists():
        print(f"skipped: {published_file} is absent; HEADRACE_DATA names the data folder", file=sys.stderr)
        print(json.dumps({"question": "mmlu_chains", "skipped": True}))
        return
    train, test = (read_answers(folder / f"mmlu_llama_{part}.csv.gz").only(tuple(PRICES)) for part in ("train", "test"))
    with published_file.open() as stream:
        published = {(row["cascade"], row["method"]): float(row["auc_error"]) for row in csv.DictReader(stream)}
    methods = sorted({method for _, method in published})
    chains, bounds = parse_chains("all", test.models), read_bounds(published_file)
    found = evaluate_chains(train, test, chains, prices=PRICES, bounds=bounds, repeats=options.repeats)
    for chain in found.chains:
        beside = "  ".join(f"{method} {published[chain.cascade, method]:.4f}" for method in methods)
        print(f"{chain.cascade:15} {chain.area.value:.4f}  {beside}")
    changes = {}
    for method in methods:
        theirs = np.array([published[chain.cascade, method] for chain in found.chains])
        differences = np.array([chain.area.value for chain in found.chains]) - theirs
        mean = found.mean_area
        changes[method] = {
            "mean_change": round(float(differences.mean()), 5),
            "over_queries": [round(value - float(theirs.mean()), 5) for value in (mean.low, mean.high)],
            "paired_over_chains": paired(differences),
        }
    print(json.dumps({"question": "mmlu_chains", "mean_area": round(found.mean_area.value, 5), "change": changes}))


if __name__ == "__main__":
    main()
