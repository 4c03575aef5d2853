"""Operators start, hold, hurry and take back a rollout, and label devices; each is in the audit."""

import json

import pytest
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.testing import cloud_toml
from cloud_worker.fleet.rollouts.store import Rollouts
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.store import Store
from router.core.release.rollout import RolloutState

CONFIG = cloud_toml()
STEPS = {"content": 1, "base": 0, "base_sha256": "", "steps": (0.01, 0.25, 1.0)}


@pytest.fixture
def cluster(tmp_path):
    """A store in which release 1 rolls out, and a way to give commands."""
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    (tmp_path / "cloud.toml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    store = Store(f"sqlite:///{tmp_path / 'data' / 'fleet.sqlite'}")

    def run(*words):
        found = CliRunner().invoke(app, [*words, "-c", str(tmp_path / "cloud.toml"), "--json"])
        return json.loads(found.stdout) if found.exit_code == 0 else found.exit_code

    assert run("devices", "list") == {"devices": []}
    store.device("kitchen")
    run("observe", "home")
    run("serve", "home")
    store.update_task("home", champion=1)
    Rollouts(store.engine).add("home", RolloutState.RUNNING, now=1.0, number=1, **STEPS)
    return store, run


def test_a_rollout_is_paused_resumed_hurried_and_given_to_all(cluster):
    store, run = cluster
    [told] = run("rollout", "status")["rollouts"]
    assert (told["state"], told["share"], told["devices"]) == ("running", 0.01, 0)
    assert run("rollout", "pause", "home", "--why", "weekend")["rollouts"][0]["state"] == "paused"
    assert run("rollout", "pause", "home") != 0
    assert run("rollout", "resume", "home")["rollouts"][0]["state"] == "running"
    assert run("rollout", "promote", "home")["rollouts"][0]["share"] == 0.25
    assert run("rollout", "promote", "home", "--all")["rollouts"][0]["state"] == "done"
    assert run("rollout", "promote", "home") != 0
    assert run("rollout", "status")["rollouts"] == []
    assert [one["state"] for one in run("rollout", "history", "home")["rollouts"]] == ["done"]
    did = [(one.did, one.why) for one in Overrides(store.engine).actions("home") if one.did.startswith("rollout")]
    assert did[0] == ("rollout pause 1", "weekend")
    assert len(did) == 4


def test_what_was_taken_back_goes_on_by_no_command(cluster):
    _, run = cluster
    assert run("rollout", "rollback", "home", "--why", "it answers in French")["rollouts"][0]["state"] == "halted"
    assert all(run("rollout", word, "home") != 0 for word in ("resume", "promote", "pause", "rollback"))


def test_a_second_rollout_and_one_of_no_release_are_refused(cluster):
    _, run = cluster
    assert run("rollout", "start", "home", "7") != 0
    assert run("rollout", "start", "home", "0", "--to", "Berlin") != 0


def test_the_others_come_in_steps_once_the_labels_have_it(cluster):
    store, run = cluster
    [rollout] = Rollouts(store.engine).open()
    Rollouts(store.engine).change(rollout, state=RolloutState.REACHED, labels='{"site": "berlin"}', step=2)
    told = run("rollout", "promote", "home")["rollouts"][0]
    assert (told["state"], told["labels"], told["share"]) == ("running", {}, 0.01)


def test_a_device_is_labelled_and_its_labels_are_told(cluster):
    _, run = cluster
    assert run("devices", "label", "kitchen", "site=berlin", "floor=2")["labels"] == {"site": "berlin", "floor": "2"}
    assert run("devices", "label", "kitchen", "--remove", "floor")["labels"] == {"site": "berlin"}
    assert run("devices", "label", "kitchen")["labels"] == {"site": "berlin"}
    assert run("devices", "label", "cellar", "site=berlin") != 0
    assert run("devices", "label", "kitchen", "berlin") != 0
