"""While the watch suspects a change, the loop has everything explored: when, for how long, and what comes of it."""

from dataclasses import replace

import pytest

from router.core.certification.live_watch import LiveWatch
from router.core.certification.observations import Observation
from router.core.certification.refresh_schedule import Pace, begin_trial
from router.core.certification.served_releases import ServedRelease
from router.core.domain.prediction import Prediction
from router.core.domain.record import Source, unit_interval
from router.core.domain.task import Exploration, Limits, Objective, Task, agree
from router.core.policy.deferral import Policy
from router.core.refresh import actions
from router.core.refresh.loop_state import LoopState, StepInputs, TaskReleases
from router.core.refresh.proving import prove
from router.core.refresh.step import carry_out, step
from router.core.release.manifest import Manifest, StudentSpec
from router.core.release.orders import Watch
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.core.statistics.threshold_planning import Point

STRIDE = 100
TASK = Task("home", reference="big", objective=Objective(0.02), exploration=Exploration(floor=0.05))
SPEC = StudentSpec("compact", "model", "tokenizer", (), 0, "1")


class NeverSuspicious(LiveWatch):
    """The watch as it would be without suspicion."""

    def observe(self, *told):
        alarmed = super().observe(*told)
        self.suspicion.update = lambda lost, at=0.0: False
        self.suspicion.signals.compare = lambda wrong, score, text: None
        return alarmed


class Fleet:
    """Ten devices that ask, and a loop over what reaches the log; every answer is kept."""

    def __init__(self, record, task=TASK, watch=Watch.QUIET, kind=LiveWatch):
        allowance = task.objective.max_disagreement
        proof = Certificate(allowance, attempt_alpha(0.95, 1), 800, 4, 4.0, 1)
        served = ServedRelease(Manifest(task, 1, 0.0, Policy(0.5), student=SPEC, certificate=proof), 0.9)
        floor = task.exploration.floor
        self.loop = LoopState(task, self.judging, Pace(min_rows=10**9), TaskReleases(floor, 1, watch, 1, 1))
        self.loop.change(served={1: served})
        self.loop.watch_over = kind.over
        self.record, self.asked, self.log, self.did = record, 0, [], []
        self.inputs = {}

    @staticmethod
    def judging(asked, answer, reference):
        return agree(TASK.judge, answer, reference)

    def ask(self, loss, strides=1):
        """Ask, of which the release loses a share, and let the log be looked at after each stride."""
        for _ in range(strides):
            rate, rows = self.loop.releases.exploration, []
            for position in range(self.asked, self.asked + STRIDE):
                if unit_interval("draw", str(position)) < rate:
                    rows.append(self.row(position, rate, unit_interval("lost", str(position)) < loss))
            self.asked += STRIDE
            self.log += rows
            self.loop.take([(self.asked, row) for row in rows])
            self.step()

    def row(self, position, rate, lost):
        facts = {"kept": True, "explored": True, "exploration": rate, "propensity": rate, "release": 1}
        said = {"local_answer": "music" if lost else "lights", "local_score": 0.9, "threshold": 0.5}
        caller = f"device-{position % 10}"
        return self.record(position, answer="lights", caller=caller, source=Source.TAUGHT, **facts, **said)

    def step(self):
        carry_out(step(self.loop, StepInputs(float(self.asked), self.loop.releases, **self.inputs)), self.do)

    def do(self, action):
        self.did.append(action)
        if isinstance(action, actions.Predict):
            return [Prediction("lights", 0.9, None)] * len(action.rows)
        return self.log if isinstance(action, actions.ReadAgain) else None

    def until_suspected(self, loss=0.2):
        for _ in range(40):
            self.ask(loss)
            if self.loop.is_suspected:
                return
        raise AssertionError("nothing was suspected")

    def kinds(self, kind):
        return [action for action in self.did if isinstance(action, kind)]


def test_a_suspected_change_has_everything_explored_and_the_base_rate_comes_back(record):
    fleet = Fleet(record)
    fleet.ask(0.0, 20)
    assert not fleet.kinds(actions.Explore)
    fleet.until_suspected()
    assert fleet.loop.releases.exploration == 1.0
    for _ in range(30):
        fleet.ask(0.0)
        if not fleet.loop.is_suspected:
            break
    assert fleet.loop.releases.exploration == pytest.approx(0.05)
    assert fleet.kinds(actions.SuspectChange) == [actions.SuspectChange(1, True), actions.SuspectChange(1, False)]
    assert [action.rate for action in fleet.kinds(actions.Explore)] == [1.0, 0.05]
    assert not fleet.kinds(actions.Alarm)


def test_a_change_is_noticed_in_fewer_queries_at_no_more_exploration_before(record):
    found = {}
    for kind in (LiveWatch, NeverSuspicious):
        fleet = Fleet(record, kind=kind)
        fleet.ask(0.005, 50)
        before = len(fleet.log)
        for _ in range(400):
            fleet.ask(0.06)
            if fleet.kinds(actions.Alarm):
                break
        found[kind] = before, fleet.asked - 5000
    assert found[LiveWatch][0] <= 1.3 * found[NeverSuspicious][0]
    assert found[LiveWatch][1] < found[NeverSuspicious][1] / 2
    assert len(fleet.kinds(actions.Alarm)) == 1


def test_after_a_restart_the_same_rows_give_the_same_suspicion_and_rate(record):
    fleet = Fleet(record)
    fleet.ask(0.0, 20)
    fleet.until_suspected()
    suspicion = fleet.loop.live_watch.suspicion
    for rows, lit in ((fleet.log, True), (fleet.log + [fleet.row(10**6 + n, 1.0, False) for n in range(900)], False)):
        again = Fleet(record)
        again.log = list(rows)
        again.loop.change(exploration=1.0 if not lit else 0.05)
        again.step()
        assert again.loop.is_suspected is lit
        assert again.loop.releases.exploration == (1.0 if lit else 0.05)
        if lit:
            known = again.loop.live_watch.suspicion
            assert (known.since, known.rows_left) == (suspicion.since, suspicion.rows_left)


def test_while_too_few_rows_come_nothing_more_is_explored(record):
    fleet = Fleet(record)
    fleet.until_suspected()
    fleet.inputs = {"is_blind": True}
    fleet.step()
    assert fleet.loop.releases.exploration == pytest.approx(0.05)
    fleet.inputs = {}
    fleet.step()
    assert fleet.loop.releases.exploration == 1.0


@pytest.mark.parametrize(
    ("task", "watch"),
    [
        (replace(TASK, objective=Objective(max_escalation=0.5)), Watch.QUIET),
        (TASK, Watch.UNPROVEN),
        (replace(TASK, exploration=Exploration(floor=1.0)), Watch.QUIET),
    ],
)
def test_what_promises_nothing_serves_unproven_or_explores_all_is_spared(record, task, watch):
    fleet = Fleet(record, task, watch)
    fleet.ask(0.5, 30)
    assert not fleet.kinds(actions.SuspectChange)
    assert fleet.loop.releases.exploration == task.exploration.floor or fleet.loop.releases.is_alarmed


def test_an_alarm_ends_the_suspicion(record):
    fleet = Fleet(record)
    fleet.ask(0.5, 30)
    assert fleet.kinds(actions.Alarm)
    assert fleet.loop.releases.is_alarmed
    assert not fleet.loop.is_suspected
    assert fleet.loop.releases.exploration == TASK.exploration.cold


def test_before_an_alarm_is_raised_no_row_of_until_then_may_certify_any_more(record):
    """A kill between the two then leaves an alarm that is raised anew, never one whose old rows certify."""
    fleet = Fleet(record)
    for _ in range(100):
        fleet.ask(0.3)
        if fleet.loop.releases.is_alarmed:
            break
    kinds = [type(action) for action in fleet.did]
    assert kinds.index(actions.Spend) < kinds.index(actions.Alarm) < kinds.index(actions.EscalateAll)
    assert fleet.did[kinds.index(actions.Spend)].keys


def test_while_everything_is_asked_the_release_keeps_nothing_but_under_a_limit(
    record,
):
    for task, keeps in ((TASK, False), (replace(TASK, budget=Limits(queries_per_minute=5)), True)):
        fleet = Fleet(record, task)
        assert fleet.loop.keeps
        fleet.until_suspected()
        assert fleet.loop.keeps is keeps
        for _ in range(30):
            fleet.ask(0.0)
        assert fleet.loop.keeps


def test_what_escalates_raises_a_suspicion_before_anything_kept_is_lost(record):
    fleet = Fleet(record)
    for start, wrong in ((0, 0.1), (1000, 0.4)):
        asked = {"kept": False, "explored": False, "exploration": 0.05, "propensity": 1.0, "release": 1}
        rows = [
            fleet.record(
                position,
                text=f"text {position}",
                answer="lights",
                local_answer="music" if unit_interval("wrong", str(position)) < wrong else "lights",
                local_score=0.9,
                threshold=0.95,
                caller=f"device-{position % 10}",
                **asked,
            )
            for position in range(start, start + 1000)
        ]
        fleet.log += rows  # from which the watch begins
        fleet.loop.take([(position, row) for position, row in enumerate(rows, start)])
        fleet.step()
        assert fleet.loop.is_suspected is (start > 0)
    assert not fleet.kinds(actions.Alarm)


def test_while_a_change_is_suspected_nothing_is_promoted(record):
    fleet = Fleet(record)
    fleet.until_suspected()
    trial = begin_trial(TASK, 2, 2, (Point(0.5, 1.0, 0.0),), rate=1.0, freeze=fleet.asked)
    trial.patience = 2000.0
    for position in range(800):
        trial.observations.append(Observation(0.9, False, 1, False, caller=f"device-{position % 10}"))
    fleet.loop.begin_trial(trial, 100, 2)
    carry_out(prove(fleet.loop, StepInputs(float(fleet.asked), fleet.loop.releases)), fleet.do)
    assert not fleet.kinds(actions.Promote)
    fleet.loop.is_suspected = False
    carry_out(prove(fleet.loop, StepInputs(float(fleet.asked), fleet.loop.releases)), fleet.do)
    assert fleet.kinds(actions.Promote)


def test_what_waits_while_everything_is_explored_counts_each_query_in_full_and_goes_on_at_its_own_rate(record):
    fleet = Fleet(record)
    fleet.until_suspected()
    trial = begin_trial(TASK, 2, 2, (Point(0.5, 1.0, 0.0),), rate=0.25, freeze=fleet.asked)
    trial.patience = 5000.0
    fleet.loop.begin_trial(trial, 100, 2)
    fleet.ask(0.0)
    assert fleet.loop.releases.exploration == 1.0
    assert trial.weight == pytest.approx(STRIDE)
    assert fleet.loop.rate_at_ease(is_held=False) == 0.25
