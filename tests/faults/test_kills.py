"""``kill -9`` of what runs while the loop does, the refresher too: it goes on, and nothing is lost."""

import os
import signal

import pytest

from cloud_worker.state.states import Phase
from demo.testing import RunningDemo

pytestmark = pytest.mark.timeout(600)

QUERIES = 1000


@pytest.fixture
def demo(tmp_path):
    one = RunningDemo(tmp_path, "--teacher", "recorded", "--promise", "0.1", "--limit", str(QUERIES), "--rate", "25")
    yield one
    one.end()


@pytest.mark.slow
def test_nothing_is_lost_when_an_agent_the_gateway_a_teacher_the_writer_and_the_refresher_are_killed(demo):
    demo.until_answered(50)
    kill_and_await_another(demo, lambda: demo.pid_in("edge-1/run/agent.json"))
    kill_and_await_another(demo, lambda: demo.pid_in("cloud/run/gateway-0.json"))
    kill_and_await_another(demo, lambda: demo.titled("ray::ServeReplica").pid)
    kill_and_await_another(demo, lambda: demo.titled("ray::LogWriter").pid)
    kill_and_await_another(demo, lambda: demo.titled("ray::Refresher").pid)
    figures = demo.figures()
    assert (figures["queries"], figures["lost"], figures["restarts"]) == (QUERIES, 0, 1)
    assert demo.left_behind() == []


@pytest.mark.slow
def test_a_refresher_that_is_killed_at_each_of_its_steps_still_certifies_a_student(demo):
    """While it gathers rows, while a fit is under way, and while the challenger proves itself."""
    demo.until_answered(50)
    for phases in ({Phase.IDLE}, {Phase.FITTING, Phase.EXPORTING, Phase.JUDGING}, {Phase.WAITING}):
        demo.until_refresh_is(phases)
        kill_and_await_another(demo, lambda: demo.titled("ray::Refresher").pid)
    figures = demo.figures()
    assert (figures["queries"], figures["lost"]) == (QUERIES, 0)
    assert figures["local_share"] > 0
    assert demo.left_behind() == []


def kill_and_await_another(demo, pid):
    """Kill a process, and wait until another one has taken its place."""
    killed = pid()
    os.kill(killed, signal.SIGKILL)
    demo.until(lambda: pid() != killed, seconds=90)
