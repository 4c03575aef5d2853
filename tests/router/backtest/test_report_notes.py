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
    assert "--judge normalised_text makes 2 answers of 3" in said
    assert not list(messy_labels(log_of(("a", "lights"), ("b", "music"))))
