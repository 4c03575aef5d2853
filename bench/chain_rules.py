"""On queries that it has not seen, which rule makes the best chain of given models?

Each table is split by a draw: some hundred rows choose, all others judge. A figure is the area under the cost-error
curve, from the first model's cost to that of asking all; lower is better. Told is how far a rule's mean area over a
table's chains lies from that of the rule that was there before, in per cent, as the mean over kinds of tables, each of
the same weight, with the 95 % interval of a bootstrap over tables and splits. Half of the tables are made up, of other
sizes of error and other kinds of confidence (``bench/parts/chain_worlds.py``).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from bench.parts.chain_rules import RULES
from bench.parts.chain_worlds import Table, all_tables
from router.core.evaluation.cascade_curves import cost_error
from router.core.evaluation.model_chain import spent

BEFORE = "ours, before"
REPEATS = 2000


def areas(table: Table, seed: int, most: int) -> dict[str, float]:
    """Each rule's mean area over some chains of a table, under one split."""
    train, test = table.split(seed)
    models = range(len(table.costs))
    chains = [chain for length in models[1:] for chain in combinations(models, length + 1)]
    if len(chains) > most:
        picked = np.random.default_rng(seed).permutation(len(chains))[:most]
        chains = [chains[position] for position in picked]
    found = {name: np.mean([area(name, train.only(chain), test.only(chain)) for chain in chains]) for name in RULES}
    return {name: float(value) for name, value in found.items()}


def area(rule: str, train: Table, test: Table) -> float:
    """Of a rule's curve on rows that it has not seen."""
    stops = RULES[rule](train)(test.log_confidence)
    wrong = 1 - test.correct[np.arange(len(test.correct)), stops]
    curve = cost_error(spent(stops, test.costs), wrong)
    return curve.area(float(test.costs[0]), float(test.costs.sum()))


def change(found: dict[str, list[dict[str, float]]], rule: str) -> dict[str, object]:
    """How far a rule lies from the one before, in per cent: by kind of table, and their mean with its interval."""
    by_kind = {
        kind: np.array([100 * (one[rule] / one[BEFORE] - 1) for one in splits]) for kind, splits in found.items()
    }
    draw = np.random.default_rng(0)
    means = [
        values[draw.integers(len(values), size=(REPEATS, len(values)))].mean(axis=1) for values in by_kind.values()
    ]
    low, high = np.quantile(np.mean(means, axis=0), (0.025, 0.975))
    mean = float(np.mean([values.mean() for values in by_kind.values()]))
    kinds = {kind: round(float(values.mean()), 3) for kind, values in by_kind.items()}
    return {"mean": round(mean, 3), "low": round(float(low), 3), "high": round(float(high), 3), "kinds": kinds}


def main() -> None:
    """Print a row for each rule, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8, help="of each real table")
    parser.add_argument("--worlds", type=int, default=8, help="of each made-up kind")
    parser.add_argument("--chains", type=int, default=10, help="most of a table, drawn anew for each split")
    options = parser.parse_args()
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "cascades"
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for kind, table in all_tables(folder if folder.is_dir() else None, options.worlds):
        made_up = kind == "generated" or kind.startswith("like ")
        for split in range(1 if made_up else options.splits):
            found[kind].append(areas(table, split, options.chains))
    changes = {rule: change(found, rule) for rule in RULES}
    for rule, told in changes.items():
        print(f"{rule:14} {told['mean']:+7.3f} %  ({told['low']:+.3f} to {told['high']:+.3f})  {told['kinds']}")
    told = {"question": "chain_rules", "tables": {kind: len(splits) for kind, splits in found.items()}}
    print(json.dumps(told | {"change_per_cent": changes}))


if __name__ == "__main__":
    main()
