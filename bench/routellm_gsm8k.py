"""Can a small router on the weak model's answer beat the published routers on RouteLLM's GSM8K answers?

Two rows for each number of labels: decided from the query alone, and after the weak answer, which then every query pays
for. A label says whether the weak model was right; figures are means over random splits, on the other queries.
Published, from the query alone: APGR .622, CPT(50 %) 33.6 %.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from router.evaluation import apgr, cpt, deferral_curve

LABELS, SPLITS, RIDGE = (300, 650), 20, 1.0


def tfidf(texts: list[str], train: np.ndarray) -> csr_matrix:
    """Words and pairs of words, and letters, by their weight in the train rows."""
    parts = []
    for vectorizer in (
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True),
    ):
        vectorizer.fit([texts[row] for row in train])
        parts.append(vectorizer.transform(texts))
    return csr_matrix(hstack(parts))


def main() -> None:
    """Print each row, then one JSON object."""
    file = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "routellm_gsm8k" / "responses.jsonl.gz"
    if not file.exists():
        print(f"skipped: {file} is absent; HEADRACE_DATA names the data folder", file=sys.stderr)
        print(json.dumps({"question": "routellm_gsm8k", "skipped": True}))
        return
    with gzip.open(file, "rt") as stream:
        rows = [json.loads(line) for line in stream]
    weak = np.array([bool(row["weak_correct"]) for row in rows])
    strong = np.array([bool(row["strong_correct"]) for row in rows])
    inputs = {
        "from the query": [row["prompt"] for row in rows],
        "after the weak answer": [row["weak_response"] for row in rows],
    }
    table = []
    for labels in LABELS:
        for name, texts in inputs.items():
            found = []
            for split in range(SPLITS):
                order = np.random.default_rng(split).permutation(len(rows))
                train, test = order[:labels], order[labels:]
                features = tfidf(texts, train)
                scores = Ridge(RIDGE).fit(features[train], weak[train]).predict(features[test])
                curve = deferral_curve(scores, weak[test], strong[test])
                found.append((apgr(curve), 100 * cpt(curve, 0.5), 100 * cpt(curve, 0.8)))
            mean = np.mean(found, axis=0)
            row = {"labels": labels, "decided": name, "apgr": round(mean[0], 4)}
            row |= {"cpt50": round(mean[1], 2), "cpt80": round(mean[2], 2)}
            table.append(row)
            print(row, flush=True)
    published = {"apgr": 0.622, "cpt50": 33.6, "cpt80": 63.3}
    print(json.dumps({"question": "routellm_gsm8k", "rows": table, "published_from_the_query": published}))


if __name__ == "__main__":
    main()
