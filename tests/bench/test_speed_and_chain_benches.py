"""The benches of chains, of a backtest's speed and of streams run to their end, in a quick form that finds nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def last_line(name, *options, data):
    command = [sys.executable, "-m", f"bench.{name}", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"HEADRACE_DATA": str(data)}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_chain_rules_are_compared_on_generated_worlds(tmp_path):
    found = last_line("chain_rules", "--worlds", "1", "--chains", "2", data=tmp_path)
    assert found["tables"] == {"generated": 4}
    assert found["change_per_cent"]["ours, before"]["mean"] == 0.0


@pytest.mark.slow
def test_a_backtests_parts_make_up_its_time(tmp_path):
    found = last_line("backtest_speed", "--rows", "600", "--promises", "0.1,0.2", data=tmp_path)
    assert (found["rows"], found["promises"]) == (600, 2)
    parts = sum(seconds for name, seconds in found["parts"].items() if not name.startswith("of which"))
    assert parts == pytest.approx(found["cpu_seconds"], abs=0.5)


@pytest.mark.slow
def test_streams_are_replayed_from_the_data_alone(tmp_path):
    assert "no data" in last_line("streams", data=tmp_path)["skipped"]
    folder = tmp_path / "clinc150"
    folder.mkdir()
    lines = [json.dumps({"text": f"{'lamp' if n % 2 else 'song'} {n}", "label": str(n % 2)}) for n in range(400)]
    for name in ("stream", "examples"):
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    found = last_line("streams", "--student", "hashed", "--stream", "clinc", "--seeds", "1", data=tmp_path)
    assert found["streams"]["clinc"]["queries"] == 400
    assert set(found["streams"]["clinc"]["met"]) == {"local", "cloud", "worst_cloud"}
