"""Can a small router on the weak model's answer beat the published routers on RouteLLM's GSM8K answers?

For each number of labels: decided from the query alone; after the weak answer, which every query then pays for, by its
words; and by its words together with what it tells of itself (steps that don't compute, numbers left unused). A label
says whether the weak model was right; figures are means over random splits, on the other queries. Published, from the
query alone: APGR .622, CPT(50 %) 33.6 %. A plain TF-IDF ridge on the weak answer reached .656 / 28.5 and .699 / 23.8.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from bench.parts.worked_answers import signs, standardised
from router.core.evaluation.cascade_curves import apgr, cpt, deferral_curve

LABELS, RIDGE = (300, 650), 1.0
SIGN_WEIGHT = 0.1  # of a standardised sign beside words of unit length
PUBLISHED = {"apgr": 0.622, "cpt50": 33.6, "cpt80": 63.3}
PLAIN = {"300": {"apgr": 0.656, "cpt50": 28.5}, "650": {"apgr": 0.699, "cpt50": 23.8}}

Rows = NDArray[np.int_]
Features = Callable[[Rows], csr_matrix]


def words_of(texts: list[str]) -> Features:
    """Words, numbers and marks, alone, in pairs and threes, by their weight in the train rows."""

    def features(train: Rows) -> csr_matrix:
        vectorizer = TfidfVectorizer(token_pattern=r"[A-Za-z]+|\d+|[^\w\s]", ngram_range=(1, 3), sublinear_tf=True)
        return csr_matrix(vectorizer.fit([texts[row] for row in train]).transform(texts))

    return features


def with_signs(words: Features, found: NDArray[np.float64]) -> Features:
    """Words, and signs on the scale of the train rows."""

    def features(train: Rows) -> csr_matrix:
        return csr_matrix(hstack([words(train), csr_matrix(SIGN_WEIGHT * standardised(found, train))]))

    return features


def score(
    features: Features, labels: int, splits: int, weak: NDArray[np.bool_], strong: NDArray[np.bool_]
) -> dict[str, float]:
    """APGR and two CPTs in per cent, means over the splits."""
    found = []
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(weak))
        train, test = order[:labels], order[labels:]
        columns = features(train)
        chance = Ridge(RIDGE).fit(columns[train], weak[train].astype(float)).predict(columns[test])
        curve = deferral_curve(chance, weak[test], strong[test])
        found.append((apgr(curve), 100 * cpt(curve, 0.5), 100 * cpt(curve, 0.8)))
    mean = np.mean(found, axis=0)
    return {"apgr": round(float(mean[0]), 4), "cpt50": round(float(mean[1]), 2), "cpt80": round(float(mean[2]), 2)}


def main() -> None:
    """Print each row, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=20, help="random ones into labelled and other queries")
    options = parser.parse_args()
    file = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "routellm_gsm8k" / "responses.jsonl.gz"
    if not file.exists():
        print(f"skipped: {file} is absent; HEADRACE_DATA names the data folder", file=sys.stderr)
        print(json.dumps({"question": "routellm_gsm8k", "skipped": True}))
        return
    with gzip.open(file, "rt") as stream:
        rows: list[dict[str, Any]] = [json.loads(line) for line in stream]
    weak, strong = (np.array([bool(row[f"{side}_correct"]) for row in rows]) for side in ("weak", "strong"))
    told = np.array([signs(row["prompt"], row["weak_response"]) for row in rows])
    answers = words_of([row["weak_response"] for row in rows])
    ways = {
        "from the query": words_of([row["prompt"] for row in rows]),
        "after the weak answer; pays the weak model on every query": answers,
        "after the weak answer, with its own signs; pays the weak model on every query": with_signs(answers, told),
    }
    table = []
    for labels in LABELS:
        for name, features in ways.items():
            row = {"labels": labels, "decided": name, **score(features, labels, options.splits, weak, strong)}
            table.append(row)
            print(row, flush=True)
    beside = {"published_from_the_query": PUBLISHED, "plain_tfidf_ridge_after_the_answer": PLAIN}
    print(json.dumps({"question": "routellm_gsm8k", "rows": table, **beside}))


if __name__ == "__main__":
    main()
