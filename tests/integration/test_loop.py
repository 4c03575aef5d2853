"""The whole loop through the real commands, once, small: the demo starts them, asks them, measures and ends them."""

import signal
import subprocess
import sys

import pytest

from demo.testing import RunningDemo

pytestmark = pytest.mark.timeout(600)

QUERIES = 1200


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(*options):
        started.append(RunningDemo(tmp_path, *options))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.mark.parametrize("how", ["plain", pytest.param("secure", marks=pytest.mark.slow)])
def test_agents_that_start_with_nothing_end_up_answering(demo, tmp_path, how):
    """A loose promise, so that few rows prove it."""
    options = (
        *(["--secure"] if how == "secure" else []),
        "--teacher",
        "recorded",
        "--promise",
        "0.1",
        "--limit",
        str(QUERIES),
        "--lockstep",
    )
    one = demo(*options, "--json", str(tmp_path / "figures.json"))
    one.until_answered(1)
    one.descendants()
    figures = one.figures()
    assert (figures["queries"], figures["agents"], figures["lost"], figures["restarts"]) == (QUERIES, 2, 0, 0)
    assert figures["windows"][0]["local_share"] == 0
    assert figures["local_share_last_quarter"] > 0.3
    assert figures["releases"][0]["number"] == 0
    assert len(figures["releases"]) >= 2
    assert sum(served["n"] for served in figures["disagreement_by_release"].values()) == QUERIES
    assert figures["disagreement"] < 0.1
    assert figures["teacher_accuracy"] > 0.95
    assert (one.folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures.json").exists()
    assert one.left_behind() == []


def test_an_interrupt_ends_every_process_of_a_fleet_with_certificates(demo):
    one = demo("--secure", "--teacher", "recorded", "--limit", "2000", "--rate", "5")
    one.until_answered(1)
    one.descendants()
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(120) == 130
    assert one.left_behind() == []


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--examples", "{good}"], 81, "--stream"),
        (["--stream", "{good}"], 81, "--examples"),
        (["--stream", "{bad}", "--teacher", "recorded"], 82, "bad.jsonl:2:"),
        (["--stream", "{none}", "--teacher", "recorded"], 82, "none.jsonl"),
        (["--json", "{none}/figures.json"], 81, "--json"),
        (["--promise", "2"], 2, "--promise"),
    ],
)
def test_bad_input_is_named_and_nothing_is_started(tmp_path, options, code, said):
    (tmp_path / "good.jsonl").write_text('{"text": "a", "label": "x"}\n')
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "a"}\n')
    files = {name: tmp_path / f"{name}.jsonl" for name in ("good", "bad", "none")}
    command = [sys.executable, "-m", "demo", "--run", str(tmp_path / "run"), *(o.format(**files) for o in options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
