"""``kill -9`` of an agent, of the gateway and of a teacher while the loop runs: it goes on, and nothing is lost."""

import os
import signal

import pytest

from demo.testing import RunningDemo

pytestmark = pytest.mark.timeout(600)

QUERIES = 1000


@pytest.fixture
def demo(tmp_path):
    one = RunningDemo(tmp_path, "--teacher", "recorded", "--promise", "0.1", "--limit", str(QUERIES), "--rate", "25")
    yield one
    one.end()


@pytest.mark.slow
def test_nothing_is_lost_when_an_agent_the_gateway_and_a_teacher_are_killed(demo):
    demo.until_answered(50)
    kill_and_await_another(demo, lambda: demo.pid_in("edge-1/run/agent.json"))
    kill_and_await_another(demo, lambda: demo.pid_in("cloud/run/gateway-0.json"))
    kill_and_await_another(demo, lambda: demo.titled("ray::ServeReplica").pid)
    kill_and_await_another(demo, lambda: demo.titled("ray::LogWriter").pid)
    figures = demo.figures()
    assert (figures["queries"], figures["lost"], figures["restarts"]) == (QUERIES, 0, 1)
    assert demo.left_behind() == []


def kill_and_await_another(demo, pid):
    """Kill a process, and wait until another one has taken its place."""
    killed = pid()
    os.kill(killed, signal.SIGKILL)
    demo.until(lambda: pid() != killed, seconds=90)
