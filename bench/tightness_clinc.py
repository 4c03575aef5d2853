"""How much of CLINC150 comes home under a promise of 2 %, in the real demo?

``recorded``: the stream's own labels are the teacher, and the student is a head over a frozen encoder (about 6
minutes). ``encoder``: a MiniLM head fitted on the examples is the teacher, and the student a compact transformer
(longer). Under lockstep nothing depends on how fast the machine is; runs differ by the devices' seeds.

Run: ``python bench/tightness_clinc.py [--only recorded|encoder] [--repeat N] [--limit N]``. Needs HEADRACE_DATA
(default ../shared/data); ends in one line of JSON, and in one that says so where the data is absent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.parts.demo_runs import Figures, Goal, compare, kept_in_hindsight, run
from bench.parts.recorded_scores import data_folder
from cloud_worker.teachers.base import Question, TeacherAnswer
from cloud_worker.teachers.encoder_teacher import load_encoder_teacher
from demo.workload import Line

PROMISE = 0.02
RECORDED, ENCODER = "recorded", "encoder"
LOCAL, CLOUD = "local_share_last_quarter", "cloud_share_last_quarter"
GOALS = {RECORDED: (Goal(LOCAL, least=0.88), Goal(CLOUD, most=0.22)), ENCODER: (Goal(LOCAL, least=0.70),)}
STUDENTS = {RECORDED: "encoder-head", ENCODER: "compact"}


def as_labelled(folder: Path, lines: Sequence[Line]) -> list[str]:
    """What a recorded teacher says: the labels."""
    del folder
    return [line.label for line in lines]


def as_encoded(folder: Path, lines: Sequence[Line]) -> list[str]:
    """What the encoder says, fitted anew on the run's examples."""
    with tempfile.TemporaryDirectory() as cache:
        teacher = load_encoder_teacher("minilm", "minilm", folder / "examples.jsonl", Path(cache))
        answers = teacher.answer([Question(line.text) for line in lines])
        return [answer.text if isinstance(answer, TeacherAnswer) else "" for answer in answers]


REFERENCES = {RECORDED: as_labelled, ENCODER: as_encoded}


def measure(teacher: str, data: Path, repeat: int, limit: int) -> Figures:
    """Some runs with one teacher, their goals, and the limit."""
    files = ("--examples", str(data / "examples.jsonl"), "--stream", str(data / "stream.jsonl"), "--limit", str(limit))
    kinds = ("--teacher", teacher, "--student", STUDENTS[teacher], "--promise", str(PROMISE))
    print(f"teacher {teacher}, student {STUDENTS[teacher]}")
    runs = [run(*files, *kinds) for _ in range(repeat)]
    told = compare(runs, GOALS[teacher], PROMISE)
    best = [kept_in_hindsight(figures, PROMISE, REFERENCES[teacher]) for figures in runs]
    print(f"the last release's student could keep {best} of the last quarter, chosen in hindsight; all-cloud keeps 0")
    return told | {"kept_in_hindsight": best, "seconds": [figures["seconds"] for figures in runs]}


def main() -> None:
    """Print goals and figures, then one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=(RECORDED, ENCODER), help="one teacher; without it both")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each")
    parser.add_argument("--limit", type=int, default=0, help="most queries; 0 for all")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print(json.dumps({"question": "tightness_clinc", "skipped": "no data; set HEADRACE_DATA to its folder"}))
        return
    teachers = [options.only] if options.only else [RECORDED, ENCODER]
    found = {teacher: measure(teacher, data, options.repeat, options.limit) for teacher in teachers}
    print(json.dumps({"question": "tightness_clinc", "promise": PROMISE, **found}))


if __name__ == "__main__":
    main()
