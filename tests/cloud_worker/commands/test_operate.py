import getpass
import json
import os
import pwd
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.rollback import mark_alarmed
from cloud_worker.state.store import ReleaseRow, Store
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.task import Mode, Task
from router.core.errors import ConfigError, ReleaseError, UnknownTaskError
from router.core.statistics.e_process import Certificate, attempt_alpha

CONFIG = cloud_toml("""[[tasks]]
name = "car"
reference = "big"
""")
PROOF = Certificate(0.02, attempt_alpha(0.95, 1), 400, 1, 9.0, attempt=1)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def fleet(config):
    """A fleet with releases 0 (no student), 1 and 2 (served), 3 (never certified)."""
    settings = read_config(config)
    settings.data.mkdir()
    store, publisher = Store(settings.store_url), Publisher(settings.releases_folder)
    store.declare_tasks(settings.tasks)
    publish_first_releases(settings.tasks, store, publisher)
    for number in (1, 2, 3):
        manifest, files = tiny_release(Task("home", reference="big"), number, WORDS)
        manifest = replace(manifest, certificate=PROOF if number < 3 else None)
        digest = publisher.publish(manifest, files)
        store.add_release(ReleaseRow("home", number, "building", "", 0.0, local_share=0.8))
        if number < 3:
            store.promote("home", number, digest, watch="quiet")
        else:
            store.update_release("home", number, state="rejected", reason="no certificate")
    return store, publisher


def run(config, *words):
    done = CliRunner().invoke(app, [*words, "--config", str(config)])
    return done.exit_code, done.output


def told(config, *words):
    code, output = run(config, *words, "--json")
    assert code == 0, output
    return json.loads(output)


def test_each_command_lays_its_hand(config, fleet):
    store, _ = fleet
    assert told(config, "observe", "home")["after"]["mode"] == "observe"
    assert store.task_state("home").mode is Mode.OBSERVE
    assert told(config, "escalate-all", "home")["after"]["mode"] == "escalate_all"
    assert told(config, "serve", "home")["after"]["mode"] == "serve"
    assert told(config, "freeze", "home")["after"]["frozen"] is True
    assert told(config, "thaw", "home")["after"]["frozen"] is False
    assert told(config, "pin", "home", "1")["after"]["pinned"] == 1
    assert told(config, "unpin", "home")["after"]["pinned"] is None
    assert store.task_state("car").mode is Mode.SERVE


def test_a_command_says_what_it_changed_and_the_second_time_that_nothing_did(config, fleet):
    assert run(config, "observe", "home") == (0, "home: observe (before: serve)\n")
    assert run(config, "observe", "home") == (0, "home: nothing to change; observe\n")
    assert told(config, "observe", "home")["changed"] is False
    assert len(told(config, "audit")["actions"]) == 1


def test_the_audit_lists_who_did_what_and_why(config, fleet):
    run(config, "freeze", "home", "--why", "release week", "--who", "ada")
    run(config, "observe", "car")
    first, second = told(config, "audit")["actions"]
    assert (first["who"], first["did"], first["why"], first["task"]) == ("ada", "freeze", "release week", "home")
    assert (first["before"]["frozen"], first["after"]["frozen"]) == (False, True)
    assert second["who"] == pwd.getpwuid(os.getuid()).pw_name
    assert [action["task"] for action in told(config, "audit", "--task", "car")["actions"]] == ["car"]
    code, text = run(config, "audit")
    assert code == 0 and "ada" in text and "freeze" in text


def test_the_user_is_not_taken_from_the_environment(config, fleet, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    assert getpass.getuser() == "somebody"
    assert told(config, "freeze", "home")["who"] != "somebody"


def test_an_unknown_task_is_refused_and_those_that_there_are_named(config, fleet):
    code, text = run(config, "freeze", "garden")
    assert code == UnknownTaskError.exit_code
    assert "car, home" in text


def test_an_unknown_release_is_refused_and_those_that_there_are_named(config, fleet):
    code, text = run(config, "pin", "home", "9")
    assert code == ReleaseError.exit_code
    assert "no release 9; it has: 0, 1, 2, 3" in text


def test_a_release_whose_files_are_lost_is_not_pinned_not_even_by_force(config, fleet):
    _, publisher = fleet
    (publisher.path("home", 1) / "model.onnx").unlink()
    code, text = run(config, "pin", "home", "1", "--force")
    assert code == ReleaseError.exit_code
    assert "lacks its file 'model.onnx'" in text
    assert told(config, "audit")["actions"] == []


def test_a_release_without_a_certificate_is_pinned_by_force_only(config, fleet):
    code, text = run(config, "pin", "home", "3")
    assert code == ReleaseError.exit_code
    assert "it was never certified" in text and "--force" in text
    after = told(config, "pin", "home", "3", "--force")["after"]
    assert (after["pinned"], after["forced"]) == (3, True)


def test_a_release_that_alarmed_is_pinned_by_force_only(config, fleet):
    store, _ = fleet
    mark_alarmed(store, "home", 1)
    code, text = run(config, "pin", "home", "1")
    assert code == ReleaseError.exit_code
    assert "it broke its promise" in text


def test_force_is_not_noted_where_the_certificate_stands(config, fleet):
    assert told(config, "pin", "home", "1", "--force")["after"]["forced"] is False


def test_the_release_without_a_student_may_be_pinned(config, fleet):
    assert told(config, "pin", "home", "0")["after"]["pinned"] == 0


def test_a_hand_may_be_laid_before_the_first_start(config):
    assert told(config, "observe", "home")["after"]["mode"] == "observe"
    store = Store(read_config(config).store_url)
    assert store.task_state("home").mode is Mode.OBSERVE


def test_an_audit_of_nothing_makes_no_store(config):
    assert told(config, "audit") == {"actions": []}
    assert not (config.parent / "data").exists()


def test_a_configuration_that_is_not_there_is_named(config):
    config.unlink()
    code, text = run(config, "freeze", "home")
    assert (code, "cloud.toml" in text) == (ConfigError.exit_code, True)


@pytest.mark.parametrize("command", ["observe", "serve", "escalate-all", "freeze", "thaw", "pin", "unpin", "audit"])
def test_each_command_shows_an_example(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: headrace-cloud {command}" in " ".join(done.output.split())


def test_status_tells_the_promise_of_each_task(config, fleet):
    run(config, "observe", "home")
    code, text = run(config, "status")
    assert code == 1  # nothing runs
    words = " ".join(text.split())
    assert "home at most 2 % of answers may differ from big's, 95% sure, as judged by label" in words
    assert "certified on 400 rows, 1 lost, for 2 % (attempt 1)" in words
    assert "operator override: observe" in words
    assert "release 0 no student: everything escalates" in words
    code, text = run(config, "status", "--json")
    promises = {task["task"]: task["promise"] for task in json.loads(text)["tasks"]}
    assert promises["home"]["certificate"]["rows"] == 400
    assert promises["car"]["state"] == "no_student"
