"""This version and a former one, as real processes: beside each other, and one after the other on the same folders."""

import json

import pytest

from router.client.blocking_client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECURE = pytest.mark.parametrize("secure", [False, True], ids=["plain", "mtls"])


def founded(make_house, version, *, secure):
    """A house whose cloud was made by a version, with a release that has a student."""
    house = make_house(secure=secure)
    if secure:
        house.cloud(version, "ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    gateway = house.start_gateway(version)
    house.step(version, "release", "cloud.toml", "1")
    return house, gateway


def to_be_logged(answers):
    """The ids of those that the reference answers too, now or later."""
    return {one.query_id for one in answers if one.provenance.explored or one.provenance.tier.value == "cluster"}


@SECURE
@pytest.mark.parametrize("which", ["former agent", "former cloud"])
def test_neighbours_work_together(make_house, former, present, which, secure):
    cloud, edge = (present, former) if which == "former agent" else (former, present)
    house, _ = founded(make_house, cloud, secure=secure)
    house.start_agent(edge)
    house.until_release(1)
    escalated = house.ask("something else", 20)
    assert {(one.text, one.provenance.tier.value) for one in escalated} == {("label 5", "cluster")}
    kept = house.ask("lamp", 20)
    assert {(one.text, one.provenance.tier.value) for one in kept} == {("lights", "device")}
    assert any(one.provenance.explored for one in kept)
    house.step(cloud, "release", "cloud.toml", "2")
    house.until_release(2)
    house.until_taught()
    ids = house.logged(cloud)
    assert to_be_logged(escalated + kept) <= set(ids)
    assert len(ids) == len(set(ids))
    said = json.loads(house.cloud(cloud, "status", "--json", code=1).stdout)
    assert [one["device"] for one in said["devices"]] == ["kitchen"]


@SECURE
def test_cloud_first_and_then_agents_are_upgraded_on_their_folders(make_house, former, present, secure):
    house, gateway = founded(make_house, former, secure=secure)
    agent = house.start_agent(former)
    house.until_release(1)
    sent = house.ask("something else", 20)
    assert len(house.logged(former)) >= 20
    sent += house.ask("another thing", 20)  # stay in the spool
    house.stop(gateway)
    sent += house.ask("lamp", 20)  # wait in the outbox

    refused = house.cloud(present, "status", code=80)
    assert "`headrace-cloud up` brings it to this one" in refused.stderr
    gateway = house.start_gateway(present)
    house.until_taught()
    house.stop(gateway)
    sent += house.ask("tune", 20)
    pending = house.wait(lambda: (house.status() or {}).get("outbox_pending"))
    house.stop(agent)

    house.start_agent(present)
    assert {(one.text, one.provenance.release) for one in house.ask("lamp", 5)} == {("lights", 1)}
    assert house.wait(lambda: (house.status() or {}).get("outbox_pending")) >= pending
    gateway = house.start_gateway(present)
    house.until_taught()
    house.step(present, "release", "cloud.toml", "2")
    house.until_release(2)
    assert (house.status() or {})["outbox_dropped"] == 0
    ids = house.logged(present)
    assert len(ids) == len(set(ids))
    assert to_be_logged(sent) <= set(ids)
    if secure:
        signs(house, gateway, present)


def signs(house, gateway, version):
    """The cloud gets keys that sign releases; the device that joined before goes on."""
    house.stop(gateway)
    house.cloud(version, "keys", "init", "--offline", "offline", "--offline-passphrase-file", "root.txt")
    house.start_gateway(version)
    house.step(version, "release", "cloud.toml", "3")
    house.until_release(3)
    assert (house.status() or {})["signed"] is False


@SECURE
def test_a_former_version_says_what_is_newer_and_spoils_nothing(make_house, former, present, secure):
    house, gateway = founded(make_house, present, secure=secure)
    agent = house.start_agent(present)
    for number in (1, 2, 3):
        if number > 1:
            house.step(present, "release", "cloud.toml", str(number))
        house.until_release(number)
        house.ask("lamp", 25)  # off probation
    house.until_taught()
    house.stop(gateway)
    before = (house.folder / "data" / "fleet.sqlite").read_bytes()

    refused = house.command(former, str(house.gateway_script), "cloud.toml", code=1)
    assert "written by a newer version of Headrace" in refused.stderr
    assert (house.folder / "data" / "fleet.sqlite").read_bytes() == before

    kept = house.ask("lamp", 20)
    house.wait(lambda: (house.status() or {}).get("outbox_pending"))
    house.stop(agent)
    agent = house.start_agent(former)
    house.start_gateway(present)
    house.until_release(3)
    house.until_taught()
    house.stop(agent)
    house.start_agent(present)
    house.until_release(3)
    ids = house.logged(present)
    assert len(ids) == len(set(ids))
    assert to_be_logged(kept) <= set(ids)


def test_a_cluster_begins_on_the_folder_of_a_former_one(make_house, former, present):
    house, asked = make_house(secure=False), []
    for version in (former, present):
        house.cloud(version, "up", "--insecure", "--detach")
        try:
            port = json.loads((house.folder / "data" / "run" / "gateway-0.json").read_bytes())["port"]
            with Client(f"127.0.0.1:{port}", insecure=True, deadline=60.0) as client:
                answers = [client.ask("lamp", "home", query_id=f"{version.name}-{number}") for number in range(3)]
            assert {answer.text for answer in answers} == {"label 5"}
            asked += [answer.query_id for answer in answers]
        finally:
            house.cloud(version, "down")
    assert house.logged(present) == sorted(asked)
