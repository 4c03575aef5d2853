from pathlib import Path

from router.backtest.logs.reader import Asked, Columns, Log
from router.backtest.report import messy_labels, repeats


def log_of(*pairs):
    return Log(Path("log"), Columns("text", "answer"), tuple(Asked(text, answer) for text, answer in pairs))


def test_queries_asked_before_are_told_with_what_a_cache_would_save():
    [said] = repeats(log_of(("a", "x"), ("a", "x"), ("b", "x"), ("a", "y")))
    assert "2 queries were asked before" in said
    assert "would save 50.0%" in said
    assert not list(repeats(log_of(("a", "x"), ("b", "x"))))


def test_labels_that_differ_in_spelling_alone_get_a_hint():
    [said] = messy_labels(log_of(("a", "Lights"), ("b", "lights."), ("c", "music")))
    assert "--judge normalised_text makes 2 of 3 different answers" in said
    assert not list(messy_labels(log_of(("a", "lights"), ("b", "music"))))


def test_labels_that_differ_in_marks_alone_are_told_since_no_judge_takes_them_for_the_same():
    [said] = messy_labels(
        log_of(("a", "play music"), ("b", '"play music"'), ("c", "play_music"), ("d", "**play music**"))
    )
    assert "3 of 4 answers" in said
    assert not list(messy_labels(log_of(("a", "-"), ("b", "_"), ("c", "-1"), ("d", "1"))))


def test_queries_that_are_alike_but_for_case_and_spaces_are_told_apart_from_the_same():
    [said] = repeats(log_of(("lamp on", "x"), ("Lamp on ", "x"), ("LAMP  ON!", "x"), ("b", "x")))
    assert "2 more queries" in said
