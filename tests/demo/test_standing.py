"""When the loop has come to rest: read from a real store, spool and log."""

import time

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.state.store import Store
from demo.fleet_state import Freshness, Observer
from demo.setting import TASK, Setting, write_configs
from demo.workload import Line
from router.core.release.reports import DeviceReport, TaskReport


@pytest.fixture
def config(tmp_path):
    lines = (Line("lights on", "on"),)
    setting = Setting(tmp_path / "run", lines, lines, "recorded", "encoder-head", 0.02, 0.95, 1, 0.0, True, False)
    config = read_config(write_configs(setting).cloud_config)
    config.data.mkdir(parents=True)
    return config


class Loop:
    """A store that a cloud would write, and who looks at it."""

    def __init__(self, config):
        self.store = Store(config.store_url)
        self.store.declare_tasks(config.tasks)
        self.store.update_task(TASK, log_version_seen=DistillationLog(config.log_folder).version())
        self.observer = Observer(config)
        self.since = time.time()
        self.freshness = Freshness(self.since)
        self.store.device("edge-1")

    def report(self, seconds=1.0, pending=0, **counters):
        state = self.store.task_state(TASK)
        known = {"active_release": state.champion, "exploration": state.exploration}
        told = DeviceReport("edge-1", tasks=(TaskReport(TASK, **{**known, **counters}),), outbox_pending=pending)
        self.store.save_report(told, self.since + seconds)

    def unsettled(self, answered=100):
        return self.observer.unsettled({"edge-1": answered}, self.freshness)


@pytest.fixture
def loop(config):
    return Loop(config)


def test_a_device_that_has_never_reported_is_waited_for(loop):
    assert loop.unsettled() == "edge-1 has not reported"


def test_the_stream_flows_once_everything_is_told_and_seen(loop):
    loop.report(answered=98, failed=2)
    assert loop.unsettled() == ""


def test_answers_that_are_not_reported_yet_are_waited_for(loop):
    loop.report(answered=99)
    assert loop.unsettled() == "edge-1 has reported 99 of 100 answers"


def test_a_device_that_was_started_again_is_believed_at_its_second_report(loop):
    loop.report(seconds=-5, answered=60)
    assert loop.unsettled()
    loop.report(seconds=1, answered=3)
    assert loop.unsettled()
    loop.report(seconds=2, answered=3)
    assert loop.unsettled() == ""


@pytest.mark.parametrize(
    ("told", "waited_for"),
    [
        ({"pending": 3}, "still sends 3"),
        ({"active_release": 7}, "runs release 7"),
        ({"exploration": 0.5}, "explores at 0.5"),
    ],
)
def test_a_device_that_is_behind_is_waited_for(loop, told, waited_for):
    loop.report(answered=100, **told)
    assert waited_for in loop.unsettled()


@pytest.mark.parametrize("phase", ["fitting", "exporting", "judging", "publishing"])
def test_a_refresh_under_way_is_waited_for(loop, phase):
    loop.report(answered=100)
    loop.store.update_task(TASK, phase=phase)
    assert loop.unsettled() == f"the refresher is {phase}"


@pytest.mark.parametrize("phase", ["idle", "waiting"])
def test_a_refresh_that_waits_for_rows_holds_nothing(loop, phase):
    loop.report(answered=100)
    loop.store.update_task(TASK, phase=phase)
    assert loop.unsettled() == ""


def test_a_log_that_the_refresher_has_not_seen_is_waited_for(loop):
    loop.report(answered=100)
    loop.store.update_task(TASK, log_version_seen=17)
    assert loop.unsettled() == "the refresher has not seen the whole log"


def test_at_the_end_every_device_tells_twice_and_its_outbox_is_empty(loop):
    loop.report(seconds=1)
    assert loop.observer.undrained(loop.freshness) == "edge-1 has not reported"
    loop.report(seconds=2, pending=1)
    assert "still sends 1" in loop.observer.undrained(loop.freshness)
    loop.report(seconds=3)
    assert loop.observer.undrained(loop.freshness) == ""
