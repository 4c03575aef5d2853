"""The code in router/v1 is what the contract generates."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "router" / "v1"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    scripts = Path(sysconfig.get_path("scripts"))
    protos = sorted(str(path) for path in (ROOT / "proto" / "router" / "v1").glob("*.proto"))
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), *outputs, *plugins, *protos]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "router" / "v1"


def names_in(folder):
    return {path.name for path in folder.iterdir() if path.suffix in {".py", ".pyi"}}


def test_no_generated_file_is_missing_or_left_over(fresh):
    assert names_in(GENERATED) - {"__init__.py"} == names_in(fresh)


def test_every_generated_file_is_as_the_contract_says(fresh):
    stale = [name for name in sorted(names_in(fresh)) if (fresh / name).read_bytes() != (GENERATED / name).read_bytes()]
    assert not stale, f"run `make proto`: {', '.join(stale)}"
