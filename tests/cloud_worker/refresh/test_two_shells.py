"""One log through both shells of the loop, the refresher over a store and the replay in memory: every decision."""

from collections import Counter
from dataclasses import fields, is_dataclass

import pytest

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.refresh.task_log import TaskLog
from router.backtest.replay import Replay
from router.backtest.students.student import Fit
from router.core.certification.refresh_schedule import Pace
from router.core.refresh import actions
from router.core.statistics.repertoire import Repertoire
from router.students.onnx_student import Student

WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock", "hour": "clock"}
LIARS = WORDS | {"song": "lights", "tune": "lights", "hour": "music"}
OUTSIDE = "fog"


class SameFits:
    """Gives the replay what the refresher's fits gave, and checks that both were taught the same rows."""

    def __init__(self, world, folder):
        self.world, self.folder, self.made, self.count = world, folder, [], 0

    def by_refresher(self, task, rows, recipe):
        fitted = self.world.fit(task, rows, recipe)
        folder = self.folder / f"fit-{len(self.made)}"
        folder.mkdir()
        for name, content in fitted.files.items():
            (folder / name).write_bytes(content)
        self.made.append((fitted, Student(folder, fitted.spec), Counter(row.key for row in rows)))
        return fitted

    def fit(self, rows):
        fitted, student, keys = self.made[self.count]
        self.count += 1
        assert Counter(row.key for row in rows) == keys
        return Fit(fitted.spec.labels, student, fitted.rows, fitted.measures)


class BothShells:
    """A refresher over a store and a replay in memory that are told the same rows, and what each decided."""

    def __init__(self, world, folder):
        self.world = world
        fits, config = SameFits(world, folder), world.config
        world.refresher = type(world.refresher)(config, fits.by_refresher, world.ask_again)
        pace = Pace(config.refresh.min_rows, config.refresh.growth, config.refresh.patience_rows)
        self.task = config.task("home")
        self.replay = Replay([], [], self.task, fits, pace)
        self.log = TaskLog(DistillationLog(config.log_folder), self.task)
        self.decided = {"store": [], "replay": []}
        for name, shell in (("store", world.refresher), ("replay", self.replay)):
            self._listen(name, shell)

    def _listen(self, name, shell):
        do = shell.do

        def heard(*told):
            self.decided[name].append(plain(told[-1]))
            return do(*told)

        shell.do = heard

    def ask(self, count):
        before = self.replay.loop.rows.last_batch
        self.world.ask(count)
        self.world.refresher.step()
        rows = self.log.new(before, 10**9)
        if rows:  # a refresher does not look at a log that has nothing new
            self.replay.consider(rows, self.world.asked)
        return self.kinds()

    def check(self):
        store, replay = self.decided["store"], self.decided["replay"]
        for position, (one, other) in enumerate(zip(store, replay, strict=True)):
            assert same(one, other), (position, one, other)

    def kinds(self):
        return [action[0] for action in self.decided["store"]]

    def until(self, kind, count=100, steps=60):
        already = self.kinds().count(kind)
        for _ in range(steps):
            self.ask(count)
            if self.kinds().count(kind) > already:
                return
        raise AssertionError(f"no {kind}: {Counter(self.kinds())}")


def plain(action):
    """An action as names and numbers; the moment of a fit is the shell's own."""
    return (type(action).__name__, _plain(action))


def _plain(value):
    if isinstance(value, actions.BeginFit):
        return value.rows_at_refresh
    if isinstance(value, actions.Predict):
        return [value.release, [row.key for row in value.rows]]
    if isinstance(value, actions.Stage | actions.TryAgain):
        trial = value.trial
        numbers = [trial.number, trial.alpha, trial.rate, trial.freeze, trial.patience, trial.earliest, trial.bound]
        keeps = None if getattr(value, "keeps", None) is None else value.keeps.numbers.tolist()
        return [*numbers, trial.only_asked, _plain(trial.known), _plain(trial.points), value.attempt, keeps]
    if is_dataclass(value):
        return [_plain(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def same(one, other):
    """Whether two actions are the same but for the last digits of a number."""
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-5, abs=1e-6)
    return one == other


def test_both_shells_decide_the_same_on_the_same_log(world, tmp_path):
    both = BothShells(world, tmp_path)
    world.words = LIARS  # what is fitted is worse than its fit claims
    both.until("Reject")
    world.words = WORDS
    both.until("Promote")
    world.words = world.said = {**WORDS, OUTSIDE: "weather"}
    both.until("Promote", 600)
    world.truth = {**world.truth, OUTSIDE: "storm"}  # what only the second release keeps
    both.until("TryAgain")
    both.until("Promote")  # it proves itself again
    world.truth = {**world.truth, "song": "lights", "tune": "lights"}  # what the first keeps too
    both.until("Alarm")
    for _ in range(3):
        both.ask(200)
    both.check()
    seldom = {"Reject", "Promote", "Alarm", "EscalateAll", "TryAgain", "Say", "Explore", "SuspectChange"}
    assert seldom <= set(both.kinds())
    assert world.refresher.contexts["home"].loop.releases.attempt == both.replay.loop.releases.attempt > 2


def test_both_shells_keep_the_same_texts_where_a_repertoire_moves_on(world, tmp_path, monkeypatch):
    monkeypatch.setattr("router.core.refresh.asked_texts.repertoire_of", lambda texts, rows: Repertoire(False, 1e6))
    both = BothShells(world, tmp_path)
    both.until("Promote")
    world.words = world.said = {**WORDS, OUTSIDE: "weather"}
    both.until("Promote", 600)
    world.truth = {**world.truth, OUTSIDE: "storm"}
    both.until("TryAgain")
    both.until("Promote")
    both.check()
    assert all(action[1][7] for action in both.decided["store"] if action[0] in {"Stage", "TryAgain"})


def test_both_shells_set_the_same_device_apart_and_take_it_back_at_the_same_row(world, tmp_path):
    both = BothShells(world, tmp_path)
    both.until("Promote")
    world.own_truth = {"device-1": "something of its own"}
    both.until("SetApart")
    world.own_truth = {}
    both.until("TakeBack", 300)
    both.ask(300)
    both.check()
