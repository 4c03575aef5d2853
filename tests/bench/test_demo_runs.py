"""What a run of the demo shows beside what it should, read from figures made up here."""

import pytest

from bench.parts.demo_runs import Goal, compare, releases_of


def figures(**changes):
    return {"local_share_last_quarter": 0.9, "lost": 0, "disagreement_by_release": {}} | changes


def test_a_goal_is_an_edge_that_belongs_to_it():
    least, most = Goal("local_share_last_quarter", least=0.9), Goal("lost", most=0)
    assert least.is_met(figures())
    assert not least.is_met(figures(local_share_last_quarter=0.89))
    assert most.is_met(figures())
    assert not most.is_met(figures(lost=1))


def test_a_goal_reads_as_it_is_meant():
    assert str(Goal("lost", most=0)) == "lost <= 0"
    assert str(Goal("local_share_last_quarter", least=0.88)) == "local_share_last_quarter >= 0.88"


@pytest.mark.parametrize(
    ("queries", "disagreement", "above", "broken"),
    [(1000, 0.01, False, False), (1000, 0.022, True, False), (1000, 0.05, True, True), (10, 0.1, True, False)],
)
def test_a_release_is_broken_only_where_its_disagreement_speaks_against_the_promise(
    queries, disagreement, above, broken
):
    (told,) = releases_of(figures(disagreement_by_release={"3": {"n": queries, "disagreement": disagreement}}), 0.02)
    assert (told["release"], told["above"], told["broken"]) == (3, above, broken)
    assert told["low"] <= disagreement


def test_runs_are_told_by_mean_least_and_largest(capsys):
    told = compare(
        [figures(), figures(local_share_last_quarter=0.8)], [Goal("local_share_last_quarter", least=0.88)], 0.02
    )
    assert told["goals"]["local_share_last_quarter >= 0.88"] == {"mean": 0.85, "values": [0.9, 0.8], "met": 1}
    assert "mean 0.8500, 0.8000 to 0.9000; 1 of 2 runs" in capsys.readouterr().out


def test_releases_of_all_runs_are_counted():
    served = {"0": {"n": 500, "disagreement": 0.0}, "1": {"n": 500, "disagreement": 0.06}}
    told = compare([figures(disagreement_by_release=served)] * 2, [], 0.02)
    assert len(told["releases"]) == 4
    assert (told["above_promise"], told["broken"]) == (2, 2)
