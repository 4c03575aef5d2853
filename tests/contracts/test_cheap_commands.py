"""Commands that only tell something load nothing that they don't need: a fit's libraries take seconds of CPU."""

import subprocess
import sys

import pytest

from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.state.store import Store
from router.core.domain.record import Record

CONFIG = cloud_toml()
OF_FITS = {"sklearn", "pandas", "onnx", "torch", "transformers", "ray", "litellm", "matplotlib", "datasets"}
OF_STUDENTS = {"onnxruntime", "tokenizers", "httpx"}
OF_THE_LOG = {"pyarrow", "deltalake"}
LOADED = """
import sys
sys.argv = ["{command}", *{words}]
from {package}.cli import app
try:
    app()
except SystemExit:
    pass
print(*sorted({{name.partition(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


def loaded_by(command: str, *words: str) -> set[str]:
    package = {"headrace": "router", "headrace-edge": "edge_agent", "headrace-cloud": "cloud_worker"}[command]
    script = LOADED.format(command=command, words=list(words), package=package)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture
def path(tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
    path = tmp_path / "cloud.toml"
    path.write_text(CONFIG)
    config = read_config(path)
    config.data.mkdir()
    Store(config.store_url).declare_tasks(config.tasks)
    row = Record("kitchen", "q1", "big", "v1", "home", 1, 1_800_000_000.0, 1_800_000_000.0, "", "on")
    DistillationLog(config.log_folder).append([row], "spool", 1)
    return path


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("ask", "--help")])
def test_a_caller_loads_no_library_of_the_agent_or_the_cloud(words):
    assert not loaded_by("headrace", *words) & (OF_FITS | OF_STUDENTS | OF_THE_LOG | {"scipy", "numpy", "sqlalchemy"})


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("run", "--help")])
def test_what_an_agent_says_of_itself_loads_nothing_that_it_runs_on(words):
    loaded = loaded_by("headrace-edge", *words)
    assert not loaded & (OF_FITS | OF_STUDENTS | OF_THE_LOG | {"scipy", "numpy", "sqlalchemy", "grpc"})


def test_an_agent_starts_without_what_only_updates_need():
    script = (
        "import sys, edge_agent.daemon; print(*{'tuf', 'securesystemslib', 'httpx', 'urllib3'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("words", [("--version",), ("--help",)])
def test_what_the_cloud_says_of_itself_loads_no_command(words):
    loaded = loaded_by("headrace-cloud", *words)
    assert not loaded & (OF_FITS | OF_STUDENTS | OF_THE_LOG | {"scipy", "numpy", "sqlalchemy", "grpc"})


@pytest.mark.parametrize("words", [("up", "--help"), ("feedback", "--help"), ("label", "--help")])
def test_what_the_cloud_says_of_one_command_loads_no_log_no_student_and_no_fit(words):
    assert not loaded_by("headrace-cloud", *words) & (OF_FITS | OF_STUDENTS | OF_THE_LOG | {"scipy"})


def test_a_status_with_a_log_loads_no_student_and_no_fit(path):
    loaded = loaded_by("headrace-cloud", "status", "-c", str(path))
    assert "deltalake" in loaded
    assert not loaded & (OF_FITS | OF_STUDENTS | {"scipy"})


def test_the_refresher_starts_without_what_only_fits_need():
    script = "import sys, cloud_worker.refresh.actor; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert not set(done.stdout.split()) & (OF_FITS - {"pandas", "ray"})
