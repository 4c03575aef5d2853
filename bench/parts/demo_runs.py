"""Runs of the real demo, and what they show beside what they should.

Rules:
 * A run is processes of its own, ``python -m demo --lockstep --no-ui``; its last line is its figures.
 * A release breaks its promise within sampling where the one-sided 95 % lower bound of its disagreement is above the
   promise (Clopper and Pearson 1934). The raw figure stands beside it.
 * Beside ours stands the limit: what the last release's own student would have kept of the last quarter at the
   threshold that, chosen in hindsight, loses no more there than the promise: more than can be had, since that student
   has learned from some of these rows.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from cloud_worker.config.cloud import read_config
from cloud_worker.releases.publisher import Publisher
from demo.setting import TASK
from demo.workload import Line
from router.core.domain.query import Query
from router.core.statistics.intervals import share_interval
from router.core.statistics.threshold_planning import NEVER, propose

RUNS = Path("runs/bench")
ONE_SIDED = 0.90  # a two-sided interval at 90 % has one-sided ends at 95 %

Figures = dict[str, Any]
References = Callable[[Path, Sequence[Line]], list[str]]  # a run's folder, its lines -> what the teacher says of each


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure of a run should reach.

    Attributes:
        key: Of the run's figures.
        least: No less than this.
        most: No more than this.
    """

    key: str
    least: float = -math.inf
    most: float = math.inf

    def is_met(self, figures: Figures) -> bool:
        """Whether a run meets it."""
        return self.least <= float(figures[self.key]) <= self.most

    def __str__(self) -> str:
        """As a person reads it."""
        return self.key + (f" >= {self.least:g}" if self.least > -math.inf else f" <= {self.most:g}")


def run(*options: str) -> Figures:
    """One run of the demo with these options: its figures, and under ``folder`` where it left everything.

    Raises:
        CalledProcessError: It failed; what it said stands on stderr.
    """
    RUNS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=RUNS))
    command = [sys.executable, "-m", "demo", *options, "--lockstep", "--no-ui", "--run", str(folder)]
    print("running", " ".join(command[1:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures | {"folder": folder}


def releases_of(figures: Figures, promise: float) -> list[Figures]:
    """Of each release that served: its disagreement, and whether it speaks against the promise within sampling."""
    told = []
    for number, served in figures["disagreement_by_release"].items():
        lost = round(served["disagreement"] * served["n"])
        low = share_interval(lost, served["n"], ONE_SIDED).low
        told.append(
            {
                "release": int(number),
                "queries": served["n"],
                "disagreement": served["disagreement"],
                "low": round(low, 5),
                "above": served["disagreement"] > promise,
                "broken": low > promise,
            }
        )
    return told


def kept_in_hindsight(figures: Figures, promise: float, references: References) -> float | None:
    """Share of the last quarter that the last release's student could have kept, ``None`` where it has no student."""
    folder = figures["folder"]
    publisher = Publisher(read_config(folder / "cloud.toml").releases_folder)
    number = figures["releases"][-1]["number"]
    manifest = publisher.manifest(TASK, number)
    if manifest.student is None:
        return None
    lines = _lines(folder / "stream.jsonl")
    lines = lines[len(lines) * 3 // 4 :]
    student = publisher.student(TASK, number, manifest)
    predicted = [student.predict(Query(str(position), TASK, line.text)) for position, line in enumerate(lines)]
    scores = np.array([-1.0 if one.score is None else one.score for one in predicted])
    said = zip(predicted, references(folder, lines), strict=True)
    agrees = np.array([one.answer == reference for one, reference in said])
    found = propose(scores, agrees, np.ones(len(lines)), promise, aim=1.0)
    return round(found.expected_local_share, 4) if found.threshold < NEVER else 0.0


def compare(runs: Sequence[Figures], goals: Sequence[Goal], promise: float) -> Figures:
    """Print the goals beside the figures of some runs, and tell them as one object."""
    told: Figures = {"runs": len(runs), "goals": {}}
    for goal in goals:
        values = [float(figures[goal.key]) for figures in runs]
        met = sum(goal.is_met(figures) for figures in runs)
        print(f"{goal!s:40} mean {mean(values):.4f}, {min(values):.4f} to {max(values):.4f}; {met} of {len(runs)} runs")
        told["goals"][str(goal)] = {"mean": round(mean(values), 4), "values": values, "met": met}
    releases = [release for figures in runs for release in releases_of(figures, promise)]
    above, broken = (sum(release[key] for release in releases) for key in ("above", "broken"))
    print(f"{len(releases)} releases served: {above} differ more than promised, {broken} beyond sampling")
    return told | {"releases": releases, "above_promise": above, "broken": broken}


def _lines(path: Path) -> list[Line]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Line(row["text"], row["label"]) for row in rows]
