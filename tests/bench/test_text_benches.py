"""The benches of texts run to their end and say what they found, in a quick form that finds nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.text_deferral import is_not_worse

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("interval", "holds"),
    [
        ((0.02, 0.01, 0.03), True),
        ((0.0, -0.009, 0.009), True),
        ((0.0, -0.05, 0.05), False),
        ((-0.02, -0.03, 0.0), False),
    ],
)
def test_a_head_is_not_worse_only_where_its_whole_interval_says_so(interval, holds):
    assert is_not_worse([(0.1, 0.05, 0.15), interval]) is holds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("text_deferral", "head_not_worse"),
        ("arithmetic_recipes", "answers_to_reach_label_only_on_all"),
        ("svamp_rationales", "accuracy"),
        ("soft_labels_clinc", "figures"),
    ],
)
def test_the_last_line_is_one_json_object(name, key):
    command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--quick"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["bench"] == name
    assert key in figures or "skipped" in figures
