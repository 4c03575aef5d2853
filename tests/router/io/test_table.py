import io

import pytest
from rich.console import Console

from router.io.table import show_table

HEADS = ("task", "release", "exploration", "mode", "watch", "phase", "rows")
ROWS = [("home", 3, "0.05", "escalate-all", "watching", "waiting 30 % needs 370 more rows to certify", 12_345)]


def shown(width, heads=HEADS, rows=ROWS, **options):
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    show_table(console, heads, rows, **options)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [200, 100, 80, 60, 30, 10])
def test_every_head_and_value_stands_whole(width):
    said = shown(width, title="tasks", caption="a note")
    for word in (*HEADS, "home", "0.05", "escalate-all", "watching", "certify", "12345", "tasks", "a note"):
        assert word in said
    assert "…" not in said


@pytest.mark.parametrize("width", [100, 80, 70])
def test_a_folded_table_is_no_wider_than_the_console(width):
    assert max(map(len, shown(width).splitlines())) <= width


def test_where_words_do_not_fit_each_row_is_a_list():
    assert "  exploration  0.05\n" in shown(30)


def test_wide_letters_count_twice():
    said = shown(40, ("name", "why"), [("台所", "温度を下げる" * 3)])
    assert "温度を下げる" * 3 in said


def test_what_looks_like_markup_is_shown_as_it_is():
    assert "[red]x[/red]" in shown(80, ("a", "[b]"), [("[red]x[/red]", "y")])


def test_a_table_without_rows_has_its_heads():
    assert "exploration" in shown(80, rows=[])
