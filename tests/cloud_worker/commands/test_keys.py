"""`keys` as an operator runs it."""

from dataclasses import replace

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.releases import Approval
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.states import ReleaseState
from cloud_worker.state.store import ReleaseRow
from tests.operator import Operator


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path, "a", "b")


def test_keys_are_made_told_and_used(operator):
    assert "keys init" in operator.run("keys", "status").output
    assert operator.json("keys", "status")["keys"] is False
    made = operator.json("keys", "init", *operator.owner("a"))
    assert (made["approval"], made["waiting"], made["unsigned"]) == ("automatic", [], [])
    assert {role: one["threshold"] for role, one in made["roles"].items()} == dict.fromkeys(
        ("root", "targets", "models", "snapshot", "timestamp"), 1
    )
    again = operator.run("keys", "init", *operator.owner("b"))
    assert (again.exit_code, "keys rotate" in again.output) == (81, True)
    operator.change('reference = "big"', 'reference = "big"\nlocal_only = true')
    assert "local_only is True" in operator.run("keys", "status").output
    signed = operator.json("keys", "sign", *operator.owner("a"))
    assert (signed["changes"], signed["signatures"]) == (["home: local_only is True, was signed as False"], 1)
    assert operator.json("keys", "status")["tasks_changed"] == []
    assert operator.json("keys", "rotate", "root", *operator.owner("a"))["roles"]["root"]["version"] == 2
    assert "is no role" in operator.run("keys", "rotate", "everything", *operator.owner("a")).output


def test_several_owners_sign_one_after_the_other(operator):
    operator.json("keys", "init", *operator.owner("a", "b"), "--threshold", "2")
    operator.change('reference = "big"', 'reference = "big"\nlocal_only = true')
    assert operator.json("keys", "sign", *operator.owner("a"))["waiting"][0]["have"] == 1
    assert "1 of 2 keys have signed" in operator.run("keys", "status").output
    assert operator.json("keys", "sign", *operator.owner("b"))["waiting"] == []


def test_passphrases_are_needed_and_their_own(operator):
    (operator.folder / "short.txt").write_text("short")
    (operator.folder / "short.txt").chmod(0o600)
    for file, said in (("issuing", "use another one"), ("short", "use 16 or more"), ("gone", "can't be read")):
        words = ("--offline", str(operator.folder / "a"), "--offline-passphrase-file", str(operator.folder / file))
        done = operator.run("keys", "init", words[0], words[1], words[2], f"{words[3]}.txt")
        assert (done.exit_code, said in done.output) == (81, True), done.output
    assert not (operator.folder / "data" / "keys").exists()
    twice = operator.run("keys", "init", *operator.owner("a", "a"))
    assert (twice.exit_code, "twice" in twice.output) == (81, True)


def test_a_release_is_approved_by_its_number_and_mirrored(operator):
    operator.change("[identity]", '[releases]\napproval = "manual"\n[identity]')
    made = operator.json("keys", "init", *operator.owner("a"))
    assert (made["approval"], made["unsigned"]) == ("manual", [])
    number = waiting_release(operator)
    told = f"home: release {number} is not signed, devices stay as they are: waits for approval"
    assert told in operator.run("keys", "status").output
    assert told in operator.run("status").output
    wrong = operator.run("releases", "approve", "home", "77", *operator.owner("a"))
    assert (wrong.exit_code, "can't be approved" in wrong.output) == (66, True)
    operator.json("releases", "approve", "home", str(number), *operator.owner("a"))
    assert operator.json("keys", "status")["unsigned"] == []
    assert operator.store.champion("home") == number
    mirrored = operator.json("releases", "mirror", str(operator.folder / "site"))
    assert (mirrored["releases"], mirrored["missing"]) == (2, [])
    assert (operator.folder / "site" / "metadata" / "timestamp.json").exists()


def test_where_releases_are_signed_online_nothing_is_to_be_approved(operator):
    operator.json("keys", "init", *operator.owner("a"))
    number = waiting_release(operator)
    done = operator.run("releases", "approve", "home", str(number), *operator.owner("a"))
    assert (done.exit_code, "nothing waits for somebody" in done.output) == (81, True)


def waiting_release(operator):
    """A certified release that waits, as a refresh leaves it; its number."""
    config, store = read_config(operator.config), operator.store
    publisher = Publisher(config.releases_folder)
    store.declare_tasks(config.tasks)
    publish_first_releases(config.tasks, store, publisher)
    if config.releases.approval is Approval.MANUAL:
        operator.json("releases", "approve", "home", "0", *operator.owner("a"))
    digest = publisher.publish(replace(publisher.manifest("home", 0), number=1), {})
    store.add_release(ReleaseRow("home", 1, ReleaseState.APPROVAL, digest, 1.0))
    return 1
