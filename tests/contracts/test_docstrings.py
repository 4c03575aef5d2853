"""A docstring names its subject first: somebody who meets it in a list of results has nothing else to go by."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("router", "edge_agent", "cloud_worker")
NO_SUBJECT = (
    "Of",
    "Its",
    "Their",
    "Theirs",
    "These",
    "That",
    "As",
    "Them",
    "Around",
)
DEFINED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def test_every_docstring_names_its_subject_first():
    opaque = []
    for path in (path for name in OURS for path in sorted((ROOT / name).rglob("*.py"))):
        where = path.relative_to(ROOT)
        if "v1" in where.parts or "versions" in where.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = (ast.get_docstring(node) or "").split() if isinstance(node, DEFINED) else []
            if said and said[0].rstrip(",.:;") in NO_SUBJECT:
                opaque.append(f"{where}: {' '.join(said[:8])}")
    assert opaque == []
