"""What comes from outside is printed as it is: no console reads markup in it, which could hide it or crash."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "edge_agent", "cloud_worker", "demo")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def consoles(path):
    """Calls of ``Console``, and of ``Screen``, which reads none unless it is told to."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("Console", "Screen")]


def test_consoles_are_found():
    assert sum(len(consoles(path)) for path in FILES) > 5


@pytest.mark.parametrize("path", [path for path in FILES if consoles(path)], ids=lambda path: path.name)
def test_no_console_reads_markup(path):
    for call in consoles(path):
        said = [ast.unparse(keyword) for keyword in call.keywords if keyword.arg == "markup"]
        assert said == (["markup=False"] if call.func.id == "Console" else []), f"{path}:{call.lineno}"
