"""A wheel and a source distribution hold all that someone needs, the contract and the migrations too."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = {path.name for path in (ROOT / "proto" / "router" / "v1").glob("*.proto")}
MIGRATIONS = {
    str(path.relative_to(ROOT)) for path in (ROOT / "cloud_worker" / "state" / "database" / "migrations").rglob("*.py")
}
TAKEN = (
    "router",
    "edge_agent",
    "cloud_worker",
    "proto",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None, reason="setuptools, which builds, is not installed here"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy to build in, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in TAKEN:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def built(*command, folder):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def wheel_of(source, out):
    built("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", out, source, folder=out)
    [wheel] = out.glob("headrace-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def unpacked(source, tmp_path_factory):
    """The source distribution, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})"
    built("-c", code, folder=source)
    [archive] = out.glob("headrace-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(out, filter="data")
    [folder] = (path for path in out.iterdir() if path.is_dir())
    return folder


def assert_whole(wheel):
    assert {f"router/v1/{name}" for name in PROTOS} <= wheel
    assert {"router/py.typed", "router/v1/cascade_pb2.py", "router/v1/cascade_pb2.pyi"} <= wheel
    assert len(MIGRATIONS) >= 5
    assert wheel >= MIGRATIONS
    assert {"router/cli.py", "edge_agent/cli.py", "cloud_worker/cli.py"} <= wheel
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"router", "edge_agent", "cloud_worker", "headrace"}


def test_a_wheel_holds_the_contract_beside_its_code(source, tmp_path):
    assert PROTOS
    assert_whole(wheel_of(source, tmp_path))


def test_a_source_distribution_holds_the_contract(unpacked):
    assert {path.name for path in (unpacked / "proto" / "router" / "v1").iterdir()} == PROTOS
    assert (unpacked / "LICENSE").is_file()


def test_a_wheel_made_from_the_source_distribution_is_whole_too(unpacked, tmp_path):
    assert_whole(wheel_of(unpacked, tmp_path))
