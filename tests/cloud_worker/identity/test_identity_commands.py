"""`ca`, `tokens`, `clients` and `devices revoke`, as an operator runs them."""

import json
import time

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.identity.authority import ISSUING_DAYS, make_authority, read_trust
from cloud_worker.identity.register import Register
from cloud_worker.state.overrides import Overrides
from router.identity.bundle import read_bundle
from router.identity.certificates import read_certificate
from router.identity.join_token import read_token
from router.identity.names import Identity, Role
from tests.operator import Operator


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path, "root")


def test_an_authority_is_made_once_and_told_by_its_fingerprint(operator):
    facts = operator.make_ca()
    trust = read_trust(operator.folder / "data" / "ca")
    assert facts["root_sha256"] == trust.root_sha256.hex() == operator.json("ca", "status")["root_sha256"]
    again = operator.run(
        "ca",
        "init",
        "--root",
        str(operator.folder / "other"),
        "--root-passphrase-file",
        str(operator.folder / "root.txt"),
    )
    assert again.exit_code == 81
    assert "is there already" in again.output


def test_the_issuing_key_is_renewed(operator):
    operator.make_ca()
    words = ("--root", str(operator.folder / "root"), "--root-passphrase-file", str(operator.folder / "root.txt"))
    assert operator.json("ca", "renew", *words)["former_issuers"] == 1
    assert operator.json("ca", "renew", *words, "--distrust")["former_issuers"] == 0


def test_passphrases_come_from_the_environment_too(operator, monkeypatch):
    text = (operator.folder / "cloud.toml").read_text()
    (operator.folder / "cloud.toml").write_text(text.replace('passphrase_file = "issuing.txt"', ""))
    done = operator.run("ca", "init", "--root", str(operator.folder / "root"))
    assert (done.exit_code, "HEADRACE_CA_PASSPHRASE" in done.output) == (81, True)
    monkeypatch.setenv("HEADRACE_CA_PASSPHRASE", "the passphrase of issuing")
    monkeypatch.setenv("HEADRACE_CA_ROOT_PASSPHRASE", "the passphrase of the root")
    assert operator.run("ca", "init", "--root", str(operator.folder / "root")).exit_code == 0


def test_a_passphrase_that_others_can_read_is_refused(operator):
    (operator.folder / "issuing.txt").chmod(0o644)
    done = operator.run("ca", "init", "--root", str(operator.folder / "root"))
    assert (done.exit_code, "chmod 600" in done.output) == (81, True)


def test_tokens_are_made_listed_and_revoked(operator):
    facts = operator.make_ca()
    made = operator.json("tokens", "create", "--device", "kitchen", "--hours", "1")["tokens"]
    many = operator.json("tokens", "create", "--label", "site=berlin", "--label", "kind=lamp", "--count", "3")["tokens"]
    assert len({*made, *many}) == 4
    token = read_token(made[0])
    assert token.root_sha256.hex() == facts["root_sha256"]
    listed = operator.json("tokens", "list")["tokens"]
    assert [(one["device"], one["labels"], one["state"]) for one in listed[:2]] == [
        ("kitchen", {}, "open"),
        ("", {"site": "berlin", "kind": "lamp"}, "open"),
    ]
    assert token.secret not in json.dumps(listed)
    assert operator.json("tokens", "revoke", token.id) == {"token": token.id, "was": "open"}
    assert operator.json("tokens", "list")["tokens"][0]["state"] == "revoked"
    assert operator.run("tokens", "list").exit_code == 0
    assert operator.run("tokens", "revoke", "none").exit_code == 66
    did = [action.did for action in Overrides(operator.store.engine).actions()]
    assert did == ["1 tokens for kitchen", "3 tokens for site=berlin,kind=lamp", f"revoke token {token.id}"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name the device, or give --label"),
        (["--device", "a b"], "is no name of a device"),
        (["--device", "anonymous"], "is no name of a device"),
        (["--device", "a", "--count", "2"], "a name is for one device"),
        (["--label", "site"], "write key=value"),
        (["--label", "a=b", "--label", "a=c"], "is given twice"),
    ],
)
def test_a_token_for_nobody_in_particular_is_not_made(operator, words, says):
    operator.make_ca()
    done = operator.run("tokens", "create", *words)
    assert (done.exit_code, says in done.output) == (81, True)


def test_without_an_authority_no_token_is_made(operator):
    done = operator.run("tokens", "create", "--device", "kitchen")
    assert (done.exit_code, "headrace-cloud ca init" in done.output) == (81, True)


def test_a_client_is_given_a_certificate_and_loses_it(operator):
    operator.make_ca()
    out = operator.folder / "app"
    operator.json("clients", "create", "app", "--out", str(out))
    bundle = read_bundle(out)
    assert read_certificate(bundle.chain).identity == Identity(Role.CLIENT, "app")
    operator.json("clients", "create", "ada", "--role", "operator", "--out", str(operator.folder / "ada"))
    listed = operator.json("clients", "list")["clients"]
    assert [(one["client"], one["role"], one["state"]) for one in listed] == [
        ("app", "client", "ok"),
        ("ada", "operator", "ok"),
    ]
    assert operator.json("clients", "revoke", "app", "--why", "left")["revoked"]
    assert operator.json("clients", "list")["clients"][0]["state"] == "revoked"
    assert read_certificate(bundle.chain).serial in Register(operator.store.engine).revoked(0)
    assert operator.run("clients", "revoke", "nobody").exit_code == 66
    assert operator.run("devices", "revoke", "app").exit_code == 66


def test_a_wrong_passphrase_gives_nobody_a_certificate(operator):
    operator.make_ca()
    (operator.folder / "wrong.txt").write_text("not that of the issuing key")
    (operator.folder / "wrong.txt").chmod(0o600)
    out = operator.folder / "app"
    words = ("--out", str(out), "--passphrase-file", str(operator.folder / "wrong.txt"))
    done = operator.run("clients", "create", "app", *words)
    assert (done.exit_code, "passphrase" in done.output, out.exists()) == (81, True, False)


def test_status_tells_when_the_issuing_key_ends_and_warns_in_time(operator):
    assert json.loads(operator.run("status", "--json").stdout)["issuing_days_left"] is None
    make_authority(
        read_config(operator.folder / "cloud.toml").ca_folder,
        operator.folder / "root",
        b"the passphrase of issuing, long enough",
        b"the passphrase of root, long enough",
        time.time() - (ISSUING_DAYS - 50) * 86_400,
    )
    assert json.loads(operator.run("status", "--json").stdout)["issuing_days_left"] == 50.0
    assert "the issuing key ends in 50 days" in operator.run("status").stdout
