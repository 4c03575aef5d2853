"""No module, package or list of imports grows past what somebody can keep in mind; there are no exceptions."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("router", "edge_agent", "cloud_worker")
MOST_LINES = 350  # of a module
MOST_MODULES = 16  # of a package, beside its __init__
MOST_IMPORTS = 15  # of a module: other modules of ours; a service needs those that are generated from its contract


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


FILES = [
    path for name in OURS for path in sorted((ROOT / name).rglob("*.py")) if "v1" not in path.relative_to(ROOT).parts
]


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path) for path in FILES}


def imported_by(path):
    """The modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES) or {node.module}
    return found


@pytest.mark.parametrize("name", OURS)
def test_no_module_is_longer_than_one_can_keep_in_mind(name):
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES if dotted(path).startswith(name)
    }
    assert {dotted(path): count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("name", OURS)
def test_no_package_holds_more_modules_than_one_can_choose_from(name):
    held = Counter(dotted(path.parent) for path in FILES if dotted(path).startswith(name) and path.stem != "__init__")
    assert {package: count for package, count in held.items() if count > MOST_MODULES} == {}


@pytest.mark.parametrize("name", OURS)
def test_no_module_leans_on_more_others_than_one_can_read_first(name):
    leans = {dotted(path): len(imported_by(path)) for path in FILES if dotted(path).startswith(name)}
    assert {module: count for module, count in leans.items() if count > MOST_IMPORTS} == {}


def test_what_is_counted_is_there():
    assert len(FILES) > 250
    assert imported_by(ROOT / "router" / "core" / "policy" / "deferral.py")
