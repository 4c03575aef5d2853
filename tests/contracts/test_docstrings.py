"""A docstring names its subject first: somebody who meets it in a list of results has nothing else to go by."""

import ast
import re
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


def documented():
    """Each module, class and function of ours that has a docstring: where it is, its node, its docstring."""
    for path in (path for name in OURS for path in sorted((ROOT / name).rglob("*.py"))):
        where = path.relative_to(ROOT)
        if "v1" in where.parts or "versions" in where.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = ast.get_docstring(node) if isinstance(node, DEFINED) else None
            if said:
                yield where, node, said


def listed(docstring, section):
    """The names that a section of a docstring lists."""
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    return set(re.findall(r"^    \*{0,2}(\w+):", found[1], re.MULTILINE)) if found else set()


def parameters(function):
    given = function.args
    plain = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    return (plain | {one.arg for one in (given.vararg, given.kwarg) if one}) - {"self", "cls"}


def held(made):
    """What a class has: names that it assigns, methods, and what its methods set on ``self``."""
    names = set()
    for node in ast.walk(made):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def test_every_docstring_names_its_subject_first():
    opaque = []
    for where, _, docstring in documented():
        said = docstring.split()
        if said[0].rstrip(",.:;") in NO_SUBJECT:
            opaque.append(f"{where}: {' '.join(said[:8])}")
    assert opaque == []


def test_what_a_docstring_lists_is_there_and_of_parameters_nothing_is_left_out():
    wrong = []
    for where, node, docstring in documented():
        if isinstance(node, ast.ClassDef):
            wrong += [f"{where}: {node.name}.{name}" for name in listed(docstring, "Attributes") - held(node)]
        elif not isinstance(node, ast.Module) and (said := listed(docstring, "Args")):
            wrong += [f"{where}: {node.name}({name})" for name in said ^ parameters(node)]
    assert wrong == []
