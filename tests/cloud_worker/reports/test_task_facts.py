"""``status`` says which release is on its way to the fleet, and how far it is."""

import pytest

from cloud_worker.fleet.rollouts.store import Member, Rollouts
from cloud_worker.reports.task_facts import TaskFacts, rollout_line
from cloud_worker.state.store import Store
from router.core.domain.task import Task
from router.core.release.rollout import RolloutState

STEPS = {"content": 2, "number": 2, "base": 1, "base_sha256": "", "steps": (0.01, 0.25, 1.0)}


@pytest.fixture
def store():
    store = Store("sqlite://")
    store.declare_tasks([Task("home", reference="big")])
    store.update_task("home", champion=2)
    return store


def test_a_rollout_under_way_is_told_with_its_devices(store):
    rollouts = Rollouts(store.engine)
    number = rollouts.add(
        "home", RolloutState.RUNNING, now=1.0, step=1, why="healthy", labels={"site": "berlin"}, **STEPS
    )
    rollouts.let_in(number, [Member("kitchen", 0, 1.0, took=2.0), Member("hall", 1, 3.0)])
    task = TaskFacts(store).of(store.task_state("home"))
    assert task["rollout"] == {
        **{"state": "running", "release": 2, "former": 1, "labels": {"site": "berlin"}, "why": "healthy"},
        **{"step": 2, "steps": [0.01, 0.25, 1.0], "devices": 2, "run_it": 1},
    }
    assert rollout_line(task) == (
        "home: release 2 rolls out to site=berlin, running: step 2 of 3 (25%), 1 of 2 devices run it, "
        "the others release 1: healthy"
    )


def test_nothing_is_told_where_every_device_is_to_run_what_serves(store):
    Rollouts(store.engine).add("home", RolloutState.DONE, now=1.0, **STEPS)
    task = TaskFacts(store).of(store.task_state("home"))
    assert (task["rollout"], rollout_line(task)) == (None, "")
