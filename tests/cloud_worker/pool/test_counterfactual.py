"""What is served where cheaper teachers answer, and how accurate it is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.pool.counterfactual import pool_answers
from cloud_worker.pool.policies import PolicyState, StoredPolicy
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.pool.word_features import FEATURES, WordHead
from cloud_worker.reports.accuracy import competence_of
from cloud_worker.state.gold_labels import Gold, Label
from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.record import Record, Tried
from router.core.domain.task import Cheaper, Objective, Task, Way
from router.core.policy.pool_routing import PoolPolicy, Tier

TASK = Task("home", "big", cheaper=Cheaper(("small",)), objective=Objective(min_accuracy=0.8))
SURE, UNSURE = math.log(0.999), math.log(0.3)


def stored(number=1, served_after=-1):
    tier = Tier("small", "s1", 0.1, -3.0, 1.5, 0.0, (0.0, 0.0), (0.1, 0.0))
    words = (WordHead(np.zeros(FEATURES, np.float32), 0.0),)
    policy = PoolPolicy(Way.CASCADE, 0.2, (tier,))
    after = served_after
    return StoredPolicy(
        "home", 1, number, "big-1", PolicyState.SERVING, policy, words, 1.0, 100, 300, after, after, 0.0
    )


def record(number, *tried, **changes):
    one = Record(
        caller=f"device-{number % 4}",
        query_id=f"q{number}",
        teacher="big",
        teacher_version="big-1",
        task="home",
        task_version=1,
        asked_at=1e9 + number,
        received_at=1e9 + number,
        text=f"text {number}",
        answer="music",
        release=1,
        local_answer="lights",
        local_score=0.1,
        threshold=0.5,
        explored=True,
        exploration=0.05,
        tried=tried,
    )
    return replace(one, **changes)


def small(answer="radio", sure=SURE, version="s1"):
    return Tried("small", version, answer, sure)


def test_without_a_policy_the_reference_answers():
    row = record(1, small())
    assert pool_answers(None, [(0, row)]) == {row.key: "music"}
    assert pool_answers(stored(), []) == {}


@pytest.mark.parametrize(
    ("tried", "answer"),
    [
        (small(), "radio"),
        (small(sure=UNSURE), "music"),
        (small(sure=None), "music"),
        (small(version="s2"), "music"),
        (Tried("small", failed=True), "music"),
    ],
)
def test_a_row_ends_where_the_policy_would_end_it(tried, answer):
    row = record(1, tried)
    assert pool_answers(stored(), [(0, row)]) == {row.key: answer}


def test_rows_that_the_policy_was_fitted_or_proved_on_do_not_speak_of_it():
    rows = [(batch, record(batch, small())) for batch in range(4)]
    assert list(pool_answers(stored(served_after=1), rows)) == [rows[2][1].key, rows[3][1].key]


def test_rows_on_which_a_teacher_was_not_asked_do_not_speak_of_the_policy():
    asked, unasked = record(1, small()), record(2)
    assert pool_answers(stored(), [(0, asked), (0, unasked)]) == {asked.key: "radio"}


@pytest.fixture
def parts(tmp_path):
    """A task with a release, 60 labelled rows that leave the device, and after a batch 60 more."""
    store, log = Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), DistillationLog(tmp_path / "log")
    store.declare_tasks([TASK])
    store.add_release(ReleaseRow("home", 1, "building", "", 0.0))
    store.promote("home", 1, "")
    rows = [record(number, small()) for number in range(120)]
    for position in range(2):
        log.append(rows[60 * position : 60 * position + 60], "test", position + 1)
    gold = Gold(store.engine)
    gold.label("home", [Label(row.key, "ada", "music") for row in gold.take("home", "ada", rows, 120, 0.0)])
    return store, log, PoolPolicies(store.engine)


def test_a_cheaper_answer_that_stands_counts_in_what_is_served(parts):
    store, log, policies = parts
    before = competence_of(store, log, TASK)
    assert (before["served"]["share"], before["served"]["rows"]) == (1.0, 120)
    assert (before["promise"]["certified"], before["promise"]["attempt"]) == (True, 1)
    policies.add(stored(served_after=1))
    said = competence_of(store, log, TASK)
    assert (said["served"]["share"], said["served"]["rows"]) == (0.0, 60)
    assert (said["promise"]["certified"], said["promise"]["rows"], said["promise"]["wrong"]) == (False, 60, 60)
    assert said["teacher"] == before["teacher"]


def test_each_policy_that_served_is_an_attempt_of_its_own(parts):
    store, log, policies = parts
    for number in (1, 2):
        policies.add(stored(number, served_after=1))
        policies.change(stored(number), PolicyState.WITHDRAWN if number == 1 else PolicyState.SERVING)
    assert competence_of(store, log, TASK)["promise"]["attempt"] == 3


def test_a_task_without_cheaper_teachers_is_served_by_its_reference(parts):
    store, log, policies = parts
    policies.add(stored())
    assert competence_of(store, log, replace(TASK, cheaper=Cheaper()))["served"]["share"] == 1.0
