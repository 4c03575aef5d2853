"""Every file of a running cluster spoilt in every way, one after the other: it answers on, tells it, and starts again.

HEADRACE_FUZZ_SEED repeats which bytes are hit; HEADRACE_FUZZ_SECONDS is how long it goes on, 90 by default.
"""

import json
import os
import random
import time

import pytest

from cloud_worker.running.process_lock import who_runs
from router import Client, HeadraceError

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]

SEED = int(os.environ.get("HEADRACE_FUZZ_SEED", random.randrange(2**32)))
SECONDS = float(os.environ.get("HEADRACE_FUZZ_SECONDS", "90"))
ANSWER_SECONDS = 60.0  # machines are shared, and a gateway may have to come back
OF_SOMEBODY_ELSE = {"lock"}  # held by `up`: who removes that has two clusters in one folder


def flip(path, chance):
    data = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    write(path, bytes(data))


def write(path, data):
    """Into the file that is there, as a disk does: whoever has it open sees it."""
    with path.open("r+b") as file:
        file.write(data)


WAYS = {
    "cut": lambda path, chance: os.truncate(path, chance.randrange(path.stat().st_size)),
    "overwritten": lambda path, chance: write(path, chance.randbytes(min(path.stat().st_size, 40_000))),
    "flipped": flip,
    "garbage": lambda path, chance: path.write_bytes(chance.randbytes(5_000)),
    "deleted": lambda path, _: path.unlink(),
}


def files_of(data):
    return sorted(
        path
        for path in data.rglob("*")
        if path.is_file() and path.stat().st_size and path.name not in OF_SOMEBODY_ELSE and "damaged-" not in str(path)
    )


class Asking:
    """One caller, who counts what was acknowledged."""

    def __init__(self, cloud_folder):
        self._client = Client(f"127.0.0.1:{cloud_folder.port}", insecure=True, device="caller", deadline=ANSWER_SECONDS)
        self.logged = []
        self.longest = 0.0

    def ask(self):
        """The text; a refusal that says "try again" is tried again."""
        began = time.monotonic()
        while True:
            try:
                answer = self._client.ask("lights on", "home")
                break
            except HeadraceError as error:
                assert time.monotonic() - began < ANSWER_SECONDS, error
        self.longest = max(self.longest, time.monotonic() - began)
        if answer.provenance.logged:
            self.logged.append(answer.query_id)
        return answer.text


def status(cloud_folder):
    done = cloud_folder.run("status", "--json")
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def log_of(cloud_folder):
    """What ``status`` tells of the log; in the moment of a mending it may have to be asked again."""
    code, said, in_words = status(cloud_folder)
    assert code in {0, 1, 75}, in_words
    return said.get("log", {"rows": 0, "state": in_words, "put_aside": []})


def until(holds, what):
    end = time.monotonic() + ANSWER_SECONDS
    while not holds():
        assert time.monotonic() < end, what


def test_whatever_file_is_spoilt_under_it_a_cluster_answers_on_and_starts_again(cloud_folder, capsys):
    chance = random.Random(SEED)
    data, tried = cloud_folder.folder / "data", []
    with capsys.disabled():
        print(f"\nHEADRACE_FUZZ_SEED={SEED}")
    up = cloud_folder.run("up", "--insecure", "--detach")
    assert up.returncode == 0, up.stderr
    caller = Asking(cloud_folder)
    assert [caller.ask() for _ in range(20)] == ["light_on"] * 20
    pid, _ = who_runs(cloud_folder.run_folder)
    until(lambda: log_of(cloud_folder)["rows"] > 0, "the log has rows")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        files = files_of(data)
        folder = chance.choice(sorted({file.parent for file in files}))
        path, way = chance.choice([file for file in files if file.parent == folder]), chance.choice(list(WAYS))
        try:
            WAYS[way](path, chance)
        except FileNotFoundError:  # the cluster has taken it away in the same moment
            continue
        tried.append(f"{path.relative_to(data)} {way}")
        assert [caller.ask() for _ in range(3)] == ["light_on"] * 3, tried[-1]
        os.kill(pid, 0)  # `up` lives
    with capsys.disabled():
        print(json.dumps({"tried": len(tried), "longest_wait_s": round(caller.longest, 1)}))
    last = caller.logged[-1]
    until(
        lambda: log_of(cloud_folder)["state"] == "ok" and caller.ask() and last != caller.logged[-1],
        "the log is mended",
    )
    assert log_of(cloud_folder)["put_aside"]
    cloud_folder.run("down")
    cloud_folder.end()
    again = cloud_folder.run("up", "--insecure", "--detach")
    assert again.returncode == 0, (tried, again.stderr)
    assert caller.ask() == "light_on"
    code, said, in_words = status(cloud_folder)
    assert (code, said["ready"]) == (0, True), in_words
