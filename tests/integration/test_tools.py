"""The loop with students that write: requests become tool calls, and most of them stay on the device."""

import signal
from pathlib import Path

import pytest

from demo.testing import RunningDemo, title_of

PROMISE = 0.02


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_most_requests_stay_on_the_device_within_the_promise(tmp_path: Path) -> None:
    one = RunningDemo(tmp_path, "--workload", "tools", "--lockstep")
    try:
        figures = one.figures(seconds=3500.0)
    finally:
        one.end()
    assert figures["lost"] == 0
    assert figures["local_share_last_quarter"] >= 0.5
    assert figures["teacher_accuracy"] >= 0.8  # a favourite that it gets wrong counts as often as it is asked
    served = {number: release for number, release in figures["disagreement_by_release"].items() if number != "0"}
    assert served
    assert all(release["disagreement"] <= PROMISE for release in served.values())


@pytest.mark.timeout(900)
def test_an_interrupt_ends_what_trains(tmp_path: Path) -> None:
    one = RunningDemo(tmp_path, "--workload", "tools", "--seed", "4242")  # no other test keeps models of this seed
    try:
        one.until(lambda: any("demo.tools.making" in title_of(process) for process in one.descendants()))
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(120) == 130
        assert one.left_behind() == []
        assert not one.folder.exists()
    finally:
        one.end()
