"""The end of a demo: a table and a picture, whatever happened in it."""

import io
import re

import pytest
from rich.console import Console

from demo import report
from demo.measure import WINDOW, Row, figures


def some(count, **changes):
    known = {"local": False, "cloud": True, "explored": True, "covered": True, "agrees": True, "right": True}
    known |= {"release": 0, "milliseconds": 12.0}
    return [Row(**{**known, **changes})] * count


RUNS = {
    "usual": [*some(WINDOW), *some(700, local=True, cloud=False, release=1), *some(7, agrees=False, release=1)],
    "no release": some(20),
    "nothing answered": [],
}


def end_of(run):
    served = [{"number": 0, "at_query": 0}, {"number": 1, "at_query": WINDOW}][: 2 if run == "usual" else 1]
    made = figures(RUNS[run], [], 0.99, agents=2, lost=0)
    return made | {"seconds": 61.2, "restarts": 0, "releases": served}


@pytest.mark.parametrize("run", RUNS)
def test_a_picture_can_be_drawn(tmp_path, run):
    report.picture(end_of(run), 0.02, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("run", RUNS)
def test_the_table_says_what_was_promised_and_what_was_lost(run):
    console = Console(file=io.StringIO(), width=100)
    console.print(report.table(end_of(run), 0.02))
    text = console.file.getvalue()
    assert "2.0%" in text
    assert "lost" in text
    assert re.search(r"covered by the promise +│ +(100|0)\.0%", text)


def test_the_table_has_a_row_for_each_release():
    console = Console(file=io.StringIO(), width=100)
    console.print(report.table(end_of("usual"), 0.02))
    assert "release 0, 500 queries" in console.file.getvalue()
    assert "release 1, 707 queries" in console.file.getvalue()


CERTIFIED = {"number": 1, "at_query": WINDOW, "certifying_rows": 1260, "losses": 2, "allowance": 0.02}


def test_the_table_says_on_what_each_release_was_certified():
    console = Console(file=io.StringIO(), width=100)
    run = end_of("usual")
    console.print(report.table(run | {"releases": [run["releases"][0], CERTIFIED]}, 0.02))
    text = console.file.getvalue()
    assert "certified: 1,260 rows, 2 lost, at most 2.0%" in text
    assert text.count("certified:") == 1  # release 0 has no student, and nothing to certify


def test_the_picture_shows_the_promise_the_releases_and_their_certificates(tmp_path):
    run = end_of("usual") | {"new_intents_from": WINDOW, "releases": [CERTIFIED, CERTIFIED | {"number": 2}]}
    report.picture(run, 0.02, tmp_path / "picture.svg")
    drawn = (tmp_path / "picture.svg").read_text()
    for words in ("promise: at most 2.0%", "release 1", "release 2", "1,260 rows, 2 lost", "new intents from here on"):
        assert words in drawn


def test_a_window_above_the_promise_is_told_with_what_the_promise_is_over():
    run = end_of("usual")
    run["windows"] = [{"local_share": 0.9, "disagreement": differ} for differ in (0.0, 0.02, 0.05)]
    console = Console(file=io.StringIO(), width=200)
    console.print(report.table(run, 0.02))
    text = " ".join(console.file.getvalue().split())
    assert "1 of 3 windows above the promise; the promise is over all queries of a release, not one window" in text


def test_no_word_on_windows_where_none_is_above_the_promise():
    run = end_of("usual")
    run["windows"] = [{"local_share": 0.9, "disagreement": 0.02}]
    console = Console(file=io.StringIO(), width=200)
    console.print(report.table(run, 0.02))
    assert "windows above" not in console.file.getvalue()


def test_a_picture_with_a_window_above_the_promise_can_be_drawn(tmp_path):
    run = end_of("usual")
    run["windows"] = [{"local_share": 0.9, "disagreement": differ} for differ in (0.0, 0.05)]
    report.picture(run, 0.02, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
