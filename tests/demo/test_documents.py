"""What README and the demo's page say is so."""

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from demo.__main__ import app
from demo.measure import figures
from router.core.domain.task import Objective

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
LINKS = [
    (page, link)
    for page in ("README.md", "docs/demo.md")
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
]


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(text):
    return {word for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for word in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_leads_somewhere(page, link):
    assert ((ROOT / page).parent / link).exists()


def test_every_make_target_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README + PAGE)) <= targets


def test_the_promise_in_the_readme_is_a_promise_that_can_be_made():
    [said] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    [table] = [tomllib.loads(said.replace("[tasks.objective]", "[objective]"))["objective"]]
    assert Objective(**table) == Objective()


def test_the_page_lists_every_option():
    options = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    assert first_column(section(PAGE, "Options")) == options


def test_the_page_explains_every_figure():
    made = figures([], [], 1.0, agents=1, lost=0)
    assert first_column(section(PAGE, "Figures")) == set(made) | {"seconds", "restarts"}


def test_the_options_that_the_pages_use_exist():
    options = {option for parameter in typer.main.get_command(app).params for option in parameter.opts}
    used = set(re.findall(r"--[a-z-]+", " ".join(re.findall(r'ARGS="([^"]*)"', README + PAGE))))
    assert used <= options
