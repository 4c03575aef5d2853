import os

import pytest

from cloud_worker.running.ray_environment import LOOPBACK, dial_directly, prepare_environment

NAMES = ("no_proxy", "NO_PROXY", "no_grpc_proxy", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "HOME")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what was there comes back
        monkeypatch.delenv(name)
    return monkeypatch


def exempt(name):
    return os.environ.get(name, "").split(",")


@pytest.mark.parametrize("given", ["", "corp.example", " a , b ,", "127.0.0.1"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_loopback_joins_what_the_operator_exempts(environment, name, given):
    environment.setenv(name, given)
    dial_directly(LOOPBACK)
    for either in ("no_proxy", "NO_PROXY"):
        assert set(exempt(either)) == {word.strip() for word in given.split(",") if word.strip()} | set(LOOPBACK)
    assert "no_grpc_proxy" not in os.environ


def test_grpcs_own_list_is_kept_and_completed(environment):
    environment.setenv("no_grpc_proxy", "corp.example")
    dial_directly(LOOPBACK)
    assert exempt("no_grpc_proxy") == ["corp.example", *LOOPBACK]


def test_a_star_stays_and_grpc_hears_of_loopback(environment):
    environment.setenv("no_proxy", "*")
    dial_directly(LOOPBACK)
    assert exempt("no_proxy") == ["*"]
    assert exempt("no_grpc_proxy") == list(LOOPBACK)


def test_twice_is_as_once():
    dial_directly(LOOPBACK)
    once = dict(os.environ)
    dial_directly(LOOPBACK)
    assert dict(os.environ) == once


@pytest.mark.parametrize("home", ["/proc", "/nowhere/at/all"])
def test_a_cluster_of_our_own_has_a_token_without_a_home(environment, home):
    environment.setenv("HOME", home)
    prepare_environment(own_cluster=True)
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_the_operators_token_is_left_alone(environment, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    environment.setenv("HOME", str(tmp_path))
    prepare_environment(own_cluster=True)
    assert "RAY_AUTH_TOKEN" not in os.environ
