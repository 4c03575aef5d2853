"""What the backtest's page and the README say of it is so."""

import re
from pathlib import Path

import pytest
import typer.main

from router.backtest.logs.reader import Asked, Columns, Log
from router.backtest.run import Plan, run
from router.cli import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "backtest.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(app).commands["backtest"]


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(text):
    return {word for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for word in re.findall(r"`([^`]+)`", row)}


def options():
    return {option for parameter in COMMAND.params for option in parameter.opts if option.startswith("--")}


def test_the_page_lists_every_option():
    assert first_column(section("Options")) == options() | {"--help"}


def test_the_page_explains_every_figure_of_its_own(make_rows):
    rows = tuple(Asked(row["text"], row["answer"]) for row in make_rows(100))
    [found] = run(Log(Path("log"), Columns("text", "answer"), rows), Plan())
    assert first_column(section("Figures")) == set(found.more)


@pytest.mark.parametrize("page", [PAGE, README])
def test_the_commands_that_the_pages_show_name_options_that_exist(page):
    shown = [line for line in page.splitlines() if line.startswith("headrace backtest ")]
    assert shown
    assert {option for line in shown for option in re.findall(r"--[a-z-]+", line)} <= options()


def test_the_readmes_command_runs(write_log, make_rows, monkeypatch):
    from typer.testing import CliRunner

    [command] = [line for line in README.splitlines() if line.startswith("headrace backtest ")]
    path = write_log(make_rows(300))
    monkeypatch.chdir(path.parent)
    done = CliRunner().invoke(app, command.split()[1:])
    assert done.exit_code == 0, done.output
    assert all(f"Promise {percent} %:" in done.stdout for percent in (1, 2, 5))


def test_every_link_leads_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
