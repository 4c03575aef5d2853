import os

import pytest

from cloud_worker.gateway.doors import Ports
from cloud_worker.gateway.run_file import RunFile


@pytest.fixture
def run_file(tmp_path):
    return RunFile(tmp_path, "gateway-0")


def test_whoever_asks_hears_the_ports_that_were_taken(run_file):
    run_file.write(Ports(4711, 4712))
    assert run_file.reopened("127.0.0.1:0") == "127.0.0.1:4711"
    assert run_file.reopened("127.0.0.1:0", "enrolment") == "127.0.0.1:4712"
    assert run_file.living_port() == 4711


def test_a_configured_port_stays(run_file):
    run_file.write(Ports(4711, 4712))
    assert run_file.reopened("127.0.0.1:5000") == "127.0.0.1:5000"


@pytest.mark.parametrize("content", ["", "{}", '{"pid": 0, "port": 1}', '{"pid": 1, "port": 99999999}', "[" * 100_000])
def test_a_spoilt_file_tells_nothing(run_file, tmp_path, content):
    (tmp_path / "gateway-0.json").write_text(content)
    assert run_file.exists()
    assert run_file.reopened("127.0.0.1:0") == "127.0.0.1:0"
    assert run_file.living_port() is None


def test_an_ended_process_has_no_port(run_file, tmp_path):
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(child, 0)
    (tmp_path / "gateway-0.json").write_text(f'{{"pid": {child}, "port": 4711}}')
    assert run_file.living_port() is None
