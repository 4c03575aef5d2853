"""How Ray is started here. In processes of their own: Ray reads the environment while it is imported."""

import subprocess
import sys

import pytest

SLOW = """
from cloud_worker.startup import own_ray
tries = []
def init(**options):
    tries.append(options)
    if len(tries) < {until}:
        raise Exception({says!r})
    return "started"
own_ray.ray.init = init
from router.core.errors import StartError
try:
    print(own_ray.start_own_ray(1, "n"), len(tries))
except StartError as error:
    print(error, len(tries))
"""
SIGNALS = """
import signal
from cloud_worker.startup import own_ray
def mine(*_): pass
signal.signal(signal.SIGTERM, mine)
own_ray.ray.init = lambda **options: signal.signal(signal.SIGTERM, lambda number, frame: exit(number))
own_ray.start_own_ray(1, "n")
print(signal.getsignal(signal.SIGTERM) is mine)
"""
FOLDER = "from cloud_worker.startup.own_ray import folder_for_ray; print(folder_for_ray())"
TOO_SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


def said_by(script, **environment):
    from os import environ

    given = {**environ, **environment}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, env=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("until", "says", "told"),
    [
        (2, TOO_SLOW, "started 2"),
        (9, TOO_SLOW, "Ray can't start here: The current node timed out"),
        (9, "no such option", "Ray can't start here: no such option"),
    ],
)
def test_a_busy_machine_is_given_more_time_and_another_failure_is_one_line(until, says, told):
    said = said_by(SLOW.format(until=until, says=says))
    assert said.startswith(told)
    assert len(said.splitlines()) == 1
    assert said.endswith("1" if "option" in says else "2")


def test_what_a_signal_does_is_ours_while_ray_starts_and_after():
    assert said_by(SIGNALS) == "True"


@pytest.mark.parametrize("length", [20, 46, 60, 120])
def test_rays_folder_is_short_enough_for_its_sockets(tmp_path, length):
    folder = str(tmp_path).ljust(length, "x")
    subprocess.run(["mkdir", "-p", folder], check=True)
    said = said_by(FOLDER, TMPDIR=folder)
    assert len(f"{said}/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store_00000") <= 107
    assert said in {f"{folder}/ray", "/tmp/ray"}


def test_rays_own_variable_goes_first(tmp_path):
    short = subprocess.run(["mktemp", "-d", "/tmp/hXXXX"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        assert said_by(FOLDER, TMPDIR=str(tmp_path), RAY_TMPDIR=short) == f"{short}/ray"
    finally:
        subprocess.run(["rmdir", short], check=True)
