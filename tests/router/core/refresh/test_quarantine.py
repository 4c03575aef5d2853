"""A device that loses alone escalates everything, the others go on, and it comes back when it has proved itself."""

import math

import pytest

from router.core.certification.device_quarantine import Apart
from router.core.certification.live_watch import LiveWatch
from router.core.certification.observations import Observation
from router.core.certification.refresh_schedule import Pace, begin_trial
from router.core.certification.served_releases import ServedRelease
from router.core.domain.record import Source, unit_interval
from router.core.domain.task import Exploration, Objective, Task, agree
from router.core.policy.deferral import Policy
from router.core.refresh import actions
from router.core.refresh.loop_state import LoopState, StepInputs, TaskReleases
from router.core.refresh.proving import _promote
from router.core.refresh.step import carry_out, step
from router.core.release.manifest import Manifest, StudentSpec
from router.core.release.orders import Watch
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.core.statistics.threshold_planning import Point

STRIDE = 100
TASK = Task("home", reference="big", objective=Objective(0.02), exploration=Exploration(floor=0.2))
SPEC = StudentSpec("compact", "model", "tokenizer", (), 0, "1")


class Fleet:
    """Devices that ask in turn, each with a loss of its own, and a loop over what reaches the log."""

    def __init__(self, record, devices=5, task=TASK):
        proof = Certificate(0.02, attempt_alpha(0.95, 1), 800, 4, 4.0, 1)
        served = ServedRelease(Manifest(task, 1, 0.0, Policy(0.5), student=SPEC, certificate=proof), 0.9)
        self.loop = LoopState(task, self.judging, Pace(min_rows=10**9), TaskReleases(0.2, 1, Watch.QUIET, 1, 1))
        self.loop.change(served={1: served})
        self.names = [f"device-{number}" for number in range(devices)]
        self.loss = dict.fromkeys(self.names, 0.002)
        self.record, self.asked, self.log, self.did, self.inputs = record, 0, [], [], {}

    @staticmethod
    def judging(asked, answer, reference):
        return agree(TASK.judge, answer, reference)

    def ask(self, strides=1):
        for _ in range(strides):
            rate, rows = self.loop.releases.exploration, []
            for position in range(self.asked, self.asked + STRIDE):
                name = self.names[position % len(self.names)]
                lost = unit_interval("lost", str(position)) < self.loss[name]
                explored = unit_interval("draw", str(position)) < rate
                if self.is_apart(name):
                    rows.append(self.row(position, name, lost, kept=False, rate=rate, explored=explored))
                elif explored:
                    rows.append(self.row(position, name, lost, kept=True, rate=rate, explored=True))
            self.asked += STRIDE
            self.log += rows
            self.loop.take([(self.asked, row) for row in rows])
            self.step()

    def is_apart(self, name):
        return name in self.loop.quarantines and self.loop.quarantines[name].lasts

    def row(self, position, name, lost, *, kept, rate, explored):
        facts = {"kept": kept, "explored": explored, "exploration": rate, "propensity": rate if kept else 1.0}
        said = {"local_answer": "music" if lost else "lights", "local_score": 0.9, "threshold": 0.5, "release": 1}
        source, at = Source.TAUGHT if kept else Source.ESCALATED, float(position)
        text = f"turn number {position} on"
        return self.record(
            position, answer="lights", caller=name, source=source, received_at=at, text=text, **facts, **said
        )

    def step(self):
        inputs = {"quarantines": dict(self.loop.quarantines), **self.inputs}
        carry_out(step(self.loop, StepInputs(float(self.asked), self.loop.releases, **inputs)), self.do)

    def do(self, action):
        self.did.append(action)
        return self.log if isinstance(action, actions.ReadAgain) else None

    def done(self, kind):
        return [action for action in self.did if isinstance(action, kind)]

    def until(self, kind, strides=300):
        for _ in range(strides):
            self.ask()
            if self.done(kind):
                return self.done(kind)[-1]
        raise AssertionError(f"no {kind.__name__} in {strides * STRIDE} queries")


@pytest.fixture
def fleet(record):
    return Fleet(record)


def test_a_device_that_loses_alone_is_set_apart_and_the_release_goes_on(fleet):
    fleet.loss["device-3"] = 0.5
    said = fleet.until(actions.SetApart)
    assert (said.device, said.since) == ("device-3", fleet.log[-1].received_at)
    assert not fleet.done(actions.Alarm)
    fleet.ask(100)
    assert not fleet.done(actions.Alarm)
    assert fleet.loop.releases.watch is Watch.QUIET
    assert len(fleet.done(actions.SetApart)) == 1


def test_no_row_of_before_certifies_anything_and_that_is_told_first(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    kinds = [type(action) for action in fleet.did]
    position = kinds.index(actions.SetApart)
    assert kinds[position - 1] is actions.Spend
    assert fleet.loop.rows.spend_held() == ()


def test_the_watch_goes_on_as_if_it_had_never_been_there(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    fleet.ask(3)
    watched = fleet.loop.live_watch.watch
    others = [row for row in fleet.log if row.caller != "device-3"]
    alone = LiveWatch.over(1, TASK, fleet.judging)
    alone.observe(others)
    assert watched.log_evidence == alone.watch.log_evidence
    assert watched.freeze() == alone.watch.freeze()


def test_after_a_restart_it_is_still_apart_and_the_same_rows_say_the_same(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    fleet.ask(5)
    before = fleet.loop.live_watch.watch.freeze()
    told = dict(fleet.loop.quarantines)
    again = LoopState(TASK, fleet.judging, Pace(min_rows=10**9), fleet.loop.releases, quarantines=told)
    again.take([(row_number, row) for row_number, row in enumerate(fleet.log)])
    fleet.loop, fleet.did = again, []
    fleet.step()
    assert not fleet.done(actions.SetApart)
    assert fleet.loop.live_watch.watch.freeze() == before


def test_one_that_loses_no_more_comes_back_once_it_has_proved_itself_and_spends_an_attempt(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    fleet.loss["device-3"] = 0.0
    said = fleet.until(actions.TakeBack)
    assert (said.device, said.attempt, fleet.loop.releases.attempt) == ("device-3", 2, 2)
    shown = [row for row in fleet.log if row.caller == "device-3" and not row.kept]
    assert len(shown) >= -math.log(attempt_alpha(0.95, 2)) / 0.02  # no fewer can prove it
    fleet.ask(50)
    assert not fleet.done(actions.Alarm)
    assert len(fleet.done(actions.SetApart)) == 1
    assert any(row.kept for row in fleet.log[-100:] if row.caller == "device-3")


def test_one_that_goes_on_to_lose_does_not_come_back(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    fleet.loss["device-3"] = 0.05
    fleet.ask(300)
    assert not fleet.done(actions.TakeBack)


def test_the_others_are_still_alarmed_on(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    fleet.loss = dict.fromkeys(fleet.names, 0.2)
    fleet.until(actions.Alarm)
    back = {action.device for action in fleet.done(actions.TakeBack)}  # all begin anew
    assert back == {action.device for action in fleet.done(actions.SetApart)}
    assert not fleet.loop.apart


def test_the_operator_sets_apart_and_takes_back(fleet):
    fleet.ask(3)
    fleet.inputs = {"quarantines": {"device-1": Apart(fleet.log[-1].received_at)}}
    fleet.step()
    assert fleet.is_apart("device-1")
    assert fleet.done(actions.Spend)
    fleet.inputs = {"quarantines": {"device-1": Apart(0.0, fleet.log[-1].received_at)}}
    fleet.step()
    assert not fleet.is_apart("device-1")
    assert not fleet.done(actions.SetApart)


def test_what_a_device_in_quarantine_keeps_back_holds_no_challenger_up(fleet):
    fleet.loss["device-3"] = 0.5
    fleet.until(actions.SetApart)
    fleet.ask(10)
    assert "device-3" not in {caller for caller, *_ in fleet.loop.rows.spend_held()}


def test_a_challenger_is_certified_at_the_attempt_that_it_spends_also_where_a_device_has_spent_another_since(fleet):
    trial = begin_trial(TASK, 2, 2, (Point(0.5, 0.9, 0.0),), rate=1.0, freeze=0)
    trial.observations += [
        Observation(0.9, wrong=False, release=1, kept=True, caller=f"device-{row % 5}") for row in range(600)
    ]
    fleet.loop.begin_trial(trial, 100, 2)
    fleet.loop.change(attempt=3)
    proof = next(_promote(fleet.loop, trial)).certificate
    assert (proof.attempt, proof.alpha) == (2, attempt_alpha(0.95, 2))
