"""A command whose extra is missing, or only half installed, says in one line what to install."""

import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

from router.core.errors import ConfigError
from router.io.extras import advice, check_extra

TOPS = metadata.packages_distributions()
COMMANDS = {"headrace-edge": ("edge_agent", "edge"), "headrace-cloud": ("cloud_worker", "cloud")}

WITHOUT = """
import importlib.util, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Refusing())
sys.argv = {argv!r}
from {package}.cli import app
app()
"""


def run(command, *words, absent=(), environment=None):
    package, _ = COMMANDS[command]
    script = WITHOUT.format(absent=set(absent), argv=[command, *words], package=package)
    call = [sys.executable, "-c", script]
    return subprocess.run(call, capture_output=True, text=True, timeout=300, check=False, env=environment)


def tops(command):
    needed = import_module(f"{COMMANDS[command][0]}.installed").NEEDED
    return sorted({name.split(".")[0] for name in needed} - {"opentelemetry"})


def assert_said(done, command, *missing):
    [line] = done.stderr.splitlines()
    assert done.returncode == 81
    assert line.startswith(f"{command}: ")
    assert advice(COMMANDS[command][1]) in line
    assert all(name in line for name in missing)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("module", "extra"),
    [("edge_agent.installed", "edge"), ("cloud_worker.installed", "cloud"), ("router.backtest.command", "backtest")],
)
def test_whatever_an_extra_brings_is_looked_for(module, extra):
    needed = {name.split(".")[0] for name in import_module(module).NEEDED}
    brought = [Requirement(line) for line in metadata.requires("headrace")]
    mine = [one for one in brought if one.marker is not None and one.marker.evaluate({"extra": extra})]
    names = [one.name for one in mine if one.name != "headrace"]
    tops = {name: {top for top, whose in TOPS.items() if canonical(name) in map(canonical, whose)} for name in names}
    assert len(tops) > 5
    assert {name for name, found in tops.items() if not found & needed} == set()


def test_what_is_to_be_typed_fetches_nothing_of_that_name_from_an_index():
    for command in re.findall(r"pip install '([^']*)'", advice("edge")):
        assert command == ".[edge]" or command.startswith("headrace[edge] @ file:///")


@pytest.mark.parametrize("words", [("--help",), ("run", "-c", "x.toml"), ("status", "-c", "x.toml"), ()])
@pytest.mark.parametrize("command", COMMANDS)
def test_without_its_extra_a_command_says_what_to_install(command, words):
    assert_said(run(command, *words, absent=tops(command)), command, *tops(command))


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        *(
            ("headrace-edge", name)
            for name in ("httpx", "onnxruntime", "pydantic_settings", "tokenizers", "grpc_health")
        ),
        *(("headrace-cloud", name) for name in ("ray", "torch", "sqlalchemy", "deltalake", "transformers", "onnx")),
    ],
)
def test_one_missing_package_is_named(command, absent):
    assert_said(run(command, "--help", absent=[absent]), command, absent)


@pytest.mark.parametrize(
    ("command", "package"),
    [("headrace-edge", "onnxruntime"), ("headrace-edge", "tokenizers"), ("headrace-cloud", "sqlalchemy")],
)
def test_a_package_that_can_not_be_imported_is_named_by_the_command_that_needs_it(
    command, package, tmp_path, monkeypatch
):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('libgomp.so.1: no such file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run(command, "--help").returncode == 0
    done = run(command, "run" if command == "headrace-edge" else "status", "-c", str(tmp_path / "none.toml"))
    assert_said(done, command, "libgomp.so.1")


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "nowhere_installed").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="nowhere_installed"):
        check_extra("headrace-cloud", "cloud", ["nowhere_installed"])


@pytest.mark.parametrize("name", ["numpy", "select", "types", "router"])
@pytest.mark.parametrize("command", ["headrace", "headrace-edge", "headrace-cloud"])
def test_files_in_the_working_folder_are_not_imported(command, name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one was imported')\n")
    script = Path(sys.executable).with_name(command)
    done = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
