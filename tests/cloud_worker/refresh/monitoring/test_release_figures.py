"""How the inputs of a second release look: it was certified on rows of unequal weight, beside a first one."""

import random
from dataclasses import replace

import pytest

from cloud_worker.refresh.monitoring.release_figures import PastRows, ReleaseFigures
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.overrides import Override
from cloud_worker.state.store import Store
from cloud_worker.state.task_figures import Figures
from edge_agent.testing.tiny_releases import tiny_release
from router.core.certification.certifying_rows import certifying
from router.core.certification.trial import Trial
from router.core.domain.record import Source
from router.core.domain.task import Task, agree
from router.core.monitoring.drift import WINDOW_ROWS
from router.core.policy.deferral import Policy
from router.core.statistics.threshold_planning import Point
from router.students.onnx_student import Student

TASK = Task("home", reference="big")
SAID = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock", "hour": "clock"}
OUTSIDE = "fog"  # neither student knows it
FIRST = {"light", "lamp", "song"}  # what the first release keeps
USUAL = {"light": 4, "lamp": 4, "song": 3, "tune": 3, "noon": 2, "hour": 2, OUTSIDE: 2}
CHANGED = USUAL | {"noon": 6, "light": 1}
RATE, FLOOR = 0.3, TASK.exploration.floor
NUMBER = 2


class Fleet:
    """Asks one query after another, and sends up what its release defers or draws."""

    def __init__(self, record):
        self.record, self.asked, self.random = record, 0, random.Random(1)

    def ask(self, count, release, keeps, rate, usual):
        texts = self.random.choices(list(usual), list(usual.values()), k=count)
        return [row for text in texts if (row := self._row(text, release, text in keeps, rate)) is not None]

    def _row(self, text, release, kept, rate):
        self.asked += 1
        drawn = self.random.random() < rate
        if kept and not drawn:
            return None
        return self.record(
            self.asked,
            text,
            SAID.get(text, "weather"),
            caller=f"device-{self.asked % 7}",
            release=release,
            kept=kept,
            source=Source.TAUGHT if kept else Source.ESCALATED,
            local_answer=SAID.get(text, "lights"),
            local_score=0.9 if kept else 0.1,
            threshold=0.5,
            explored=drawn,
            exploration=rate,
            propensity=rate if kept else 1.0,
        )


def judging(asked, answer, reference):
    return agree(TASK.judge, answer, reference)


@pytest.fixture
def second(tmp_path, record):
    """A second release, certified beside the first: what tells of it, its manifest, the rows so far, and the fleet."""
    store, publisher = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), Publisher(tmp_path / "releases")
    store.declare_tasks([TASK])
    manifest, files = tiny_release(TASK, NUMBER, SAID)
    publisher.publish(manifest, files)
    student = Student.load(publisher.path("home", NUMBER), publisher.manifest("home", NUMBER))
    fleet = Fleet(record)
    rows = fleet.ask(1500, 1, FIRST, RATE, USUAL)
    trial = Trial(NUMBER, 0.02, 0.025, RATE, freeze=0, patience=450, points=(Point(0.5, 0.8, 0.001),))
    seen = trial.observe(certifying([(1, row) for row in rows], trial, set()), student, judging)
    store.spend("home", NUMBER, [row.key for row in seen])
    assert trial.weight < 0.8 * trial.rows
    manifest = replace(manifest, certificate=trial.certificate(1), policy=Policy(trial.certified()))
    past = PastRows(lambda keys: [row for row in rows if row.key in keys], lambda release, since: [])
    return ReleaseFigures(TASK, judging, store, publisher, past), manifest, fleet


def warnings(second, usual, windows=3):
    """What each window of the second release's life warns of."""
    telling, manifest, fleet = second
    found = []
    while len(found) < windows:
        telling.take(fleet.ask(round(WINDOW_ROWS / FLOOR / 4), NUMBER, set(SAID), FLOOR, usual))
        drifted = telling.complete(Figures(0.0), Override(), manifest).drifted
        if drifted.windows > len(found):
            assert min(drifted.comparisons[0].rows_before, drifted.comparisons[0].rows_now) >= WINDOW_ROWS
            found.append({one.what for one in drifted.comparisons if one.warns})
    return found


def test_unchanged_queries_of_a_second_release_are_told_as_they_were(second):
    assert warnings(second, USUAL) == [set(), set(), set()]


def test_changed_queries_of_a_second_release_are_warned_of(second):
    assert all("classes" in found for found in warnings(second, CHANGED))


def test_rows_of_a_release_without_a_certificate_are_compared_with_nothing(second):
    telling, manifest, fleet = second
    telling.take(fleet.ask(round(2 * WINDOW_ROWS / FLOOR), NUMBER, set(SAID), FLOOR, USUAL))
    told = telling.complete(Figures(0.0), Override(), replace(manifest, certificate=None))
    assert told.drifted.comparisons == ()


def test_a_certificate_that_names_no_rate_stands_on_drawn_rows_alone(second):
    telling, manifest, fleet = second
    telling.take(fleet.ask(round(2 * WINDOW_ROWS / FLOOR), NUMBER, set(SAID), FLOOR, USUAL))
    unnamed = replace(manifest, certificate=replace(manifest.certificate, rate=None))
    told = telling.complete(Figures(0.0), Override(), unnamed)
    assert told.drifted.comparisons
