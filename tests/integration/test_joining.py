"""A stranger's way, by the commands alone and with real processes: an authority, a token, a device, a revocation."""

import json
import os
import signal

import pytest

from router.client.blocking_client import Client
from router.core.errors import RevokedError, ServiceError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_stranger_joins_by_one_command_asks_is_revoked_and_joins_again(house):
    house.cloud("ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    _, gateway = house.start_gateway()
    enrolment = f"127.0.0.1:{gateway['enrolment']}"
    token = house.cloud("tokens", "create", "--device", "kitchen").stdout.strip()
    assert "kitchen has enrolled" in house.edge("enroll", "--cloud", enrolment, "--token", token).stdout
    assert f'target = "127.0.0.1:{gateway["port"]}"' in (house.folder / "device" / "agent.toml").read_text()
    assert json.loads(house.edge("status", "--json", code=1).stdout)["state"] == "not_running"
    _, agent = house.start_agent()
    house.until_state("ok")
    assert "kitchen: runs" in house.edge("status").stdout
    with Client(f"127.0.0.1:{agent['port']}", insecure=True, deadline=30.0) as client:
        assert client.ask("lamp", "home").text == "label 5"

        thief = house.edge("enroll", "--cloud", enrolment, "--token", token, code=78)
        assert "has been used" in thief.stderr

        house.cloud("clients", "create", "app", "--out", "app")
        with Client(f"127.0.0.1:{gateway['port']}", identity=house.folder / "app", deadline=30.0) as app:
            assert app.ask("lamp", "home").text == "label 5"
            house.cloud("clients", "revoke", "app")
            with pytest.raises(RevokedError):
                while True:
                    app.ask("lamp", "home")

        house.cloud("devices", "revoke", "kitchen", "--why", "stolen")
        house.until_state("revoked")
        assert '"state": "revoked"' in house.cloud("devices", "list", "--json").stdout
        with pytest.raises(ServiceError, match="revoked"):
            client.ask("lamp", "home")
        again = house.cloud("tokens", "create", "--device", "kitchen").stdout.strip()
        house.edge("enroll", "--cloud", enrolment, "--token", again)
        house.until_state("ok")
        assert client.ask("lamp", "home").text == "label 5"


def test_a_killed_gateway_comes_back_with_a_new_certificate_and_the_agent_goes_on(house):
    house.cloud("ca", "init", "--root", "root", "--root-passphrase-file", "root.txt")
    process, gateway = house.start_gateway()
    token = house.cloud("tokens", "create", "--label", "site=berlin").stdout.strip()
    enrolment = f"127.0.0.1:{gateway['enrolment']}"
    house.edge("enroll", "--cloud", enrolment, "--token", token, "--device", "kitchen")
    _, agent = house.start_agent()
    house.until_state("ok")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    house.until_state("offline")
    _, back = house.start_gateway()
    assert (back["port"], back["enrolment"]) == (gateway["port"], gateway["enrolment"])
    house.until_state("ok")
    with Client(f"127.0.0.1:{agent['port']}", insecure=True, deadline=30.0) as client:
        assert client.ask("lamp", "home").text == "label 5"
