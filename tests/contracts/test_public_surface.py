"""What programs may import, and what an import costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import router

ROOT = Path(__file__).parents[2]


def modules_after(statement):
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    return set(done.stdout.split())


def test_public_names_are_sorted_few_and_there():
    assert router.__all__ == sorted(router.__all__)
    assert len(router.__all__) <= 12
    assert all(getattr(router, name) for name in router.__all__)
    assert dir(router) == router.__all__


def test_public_names_are_exactly_the_documented_ones():
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    table = page.split("## What `router` exports")[1].split("\n## ")[0]
    documented = {
        cell.strip(" `") for line in table.splitlines() if line.startswith("| `") for cell in [line.split("|")[1]]
    }
    assert documented == set(router.__all__)


def test_a_name_that_is_not_public_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        router.Nothing  # noqa: B018 - asking is the test


def test_what_type_checkers_see_is_what_programs_get():
    tree = ast.parse((ROOT / "router" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    for statement in block.body:
        home = importlib.import_module(statement.module)
        for alias in statement.names:
            assert getattr(router, alias.name) is getattr(home, alias.name)


def test_importing_router_imports_next_to_nothing():
    heavy = {"grpc", "google", "numpy", "opentelemetry", "typer", "asyncio", "pydantic"}
    assert not heavy & {name.split(".")[0] for name in modules_after("import router")}


def test_the_clients_command_needs_the_clients_packages_alone():
    extras = {"pydantic", "httpx", "onnxruntime", "tokenizers", "torch", "transformers", "scipy", "pyarrow", "ray"}
    assert not extras & {name.split(".")[0] for name in modules_after("import router.cli")}


def test_an_agent_is_there_without_torch():
    assert not {"torch", "transformers"} & {name.split(".")[0] for name in modules_after("import edge_agent.daemon")}


def test_what_decides_imports_no_grpc():
    every = (
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "router" / "core").rglob("*.py")
        if path.name != "__init__.py"
    )
    found = modules_after(f"import {', '.join([*every, 'router.transport.telemetry_names'])}")
    assert "router.core.certification.trial" in found
    assert not {"grpc", "google", "opentelemetry"} & {name.split(".")[0] for name in found}


def test_programs_that_use_the_client_are_type_checked():
    assert (Path(router.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("command", ["headrace"])
def test_the_command_is_there(command):
    done = subprocess.run(
        [Path(sys.executable).with_name(command), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(f"Usage: {command} ")
