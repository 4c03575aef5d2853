"""Figures of a demo, from answers, the log and the teacher's own answers."""

from collections import Counter
from dataclasses import replace

import pytest

from demo.configs import Models
from demo.measure import WINDOW, Row, figures, lost, rows_of, teacher_right
from demo.setting import Setting
from demo.stream import Asked, query_id
from demo.workload import Line
from router.core.domain.query import Answer, Provenance, Tier
from router.core.errors import BadInputError, DeadlineError, UnavailableError

DEVICES = ("edge-1", "edge-2")


def row(**changes):
    known = {
        "local": False,
        "cloud": True,
        "explored": False,
        "covered": True,
        "agrees": True,
        "right": True,
        "release": 0,
        "milliseconds": 1.0,
    }
    return Row(**{**known, **changes})


def answer(position, text="on", tier=Tier.CLUSTER, **said):
    return Answer(query_id(position), text, Provenance(tier, "model", **said))


def asked(*answers, errors=None):
    return Asked(list(answers), dict(errors or {}), [1.0] * len(answers), len(answers))


def setting(tmp_path, *lines):
    return Setting(tmp_path, lines, lines, "recorded", "encoder-head", 0.02, 0.95, 2, 0.0, False, False)


def measured(rows):
    return figures(rows, [], 1.0, agents=2, lost=0)


def test_the_teacher_is_judged_as_every_answer_is(tmp_path):
    call = '[{"name":"timer_set","arguments":{"minutes":5,"room":"hall"}}]'
    spaced = '[{"arguments": {"room": "hall", "minutes": 5}, "name": "timer_set"}]'
    lines = (Line("a", call), Line("b", call))
    calls = replace(setting(tmp_path, *lines), models=Models(tmp_path, tmp_path))
    answers = {"a": spaced, "b": call.replace("5", "6")}
    assert teacher_right(calls, answers) == 0.5
    rows = rows_of(calls, asked(answer(0, spaced), answer(1, answers["b"])), answers, Counter(), DEVICES)
    assert [row.right for row in rows] == [True, False]


def test_every_key_of_the_contract_is_there():
    keys = set(measured([row()])) | {"seconds"}  # which the demo adds
    assert keys >= {
        *("queries", "agents", "seconds", "releases", "local_share", "local_share_last_quarter", "cloud_share"),
        *("cloud_share_last_quarter", "explored_share", "covered_share", "disagreement", "disagreement_last_quarter"),
        *("disagreement_by_release", "accuracy", "teacher_accuracy", "p50_ms_local", "p50_ms_escalated", "lost"),
        "windows",
    }


def test_shares_are_of_all_rows_and_of_the_last_quarter():
    rows = [row()] * 6 + [row(local=True, cloud=False), row(local=True, cloud=True, explored=True, agrees=False)]
    result = measured(rows)
    assert (result["local_share"], result["local_share_last_quarter"]) == (0.25, 1.0)
    assert (result["cloud_share"], result["cloud_share_last_quarter"]) == (0.875, 0.5)
    assert (result["disagreement"], result["disagreement_last_quarter"]) == (0.125, 0.5)
    assert result["explored_share"] == 0.125


def test_disagreement_by_release_counts_escalated_queries_too():
    rows = [row(release=1), row(release=1, local=True, agrees=False), row(release=2, local=True)]
    assert measured(rows)["disagreement_by_release"] == {
        "1": {"n": 2, "disagreement": 0.5},
        "2": {"n": 1, "disagreement": 0.0},
    }


def test_shares_have_no_noise_of_floating_point():
    rows = [row()] * 49 + [row(agrees=False)]
    assert measured(rows)["disagreement"] == 0.02
    assert measured(rows)["windows"][0]["disagreement"] == 0.02


def test_a_window_is_five_hundred_queries():
    rows = [row(release=1)] * WINDOW + [row(local=True, release=2)] * 10
    assert [window["release"] for window in measured(rows)["windows"]] == [1, 2]
    assert [window["local_share"] for window in measured(rows)["windows"]] == [0.0, 1.0]


def test_medians_are_absent_where_nothing_was_answered():
    result = measured([row(milliseconds=3.0)])
    assert (result["p50_ms_local"], result["p50_ms_escalated"]) == (None, 3.0)


def test_an_escalated_query_belongs_to_the_release_that_its_agent_ran(tmp_path):
    lines = [Line("a", "on"), Line("b", "on")]
    answers = asked(answer(0, tier=Tier.DEVICE, release=3), answer(1, release=3))
    rows = rows_of(setting(tmp_path, *lines), answers, {"a": "on", "b": "on"}, Counter(), DEVICES)
    assert [row.release for row in rows] == [3, 3]


def test_an_explored_query_was_seen_by_the_cloud_even_though_a_student_answered(tmp_path):
    answers = asked(answer(0, tier=Tier.DEVICE, release=1, explored=True), answer(1, tier=Tier.DEVICE, release=1))
    logged = Counter({("edge-1", query_id(0)): 1})
    lines = [Line("a", "on"), Line("b", "off")]
    first, second = rows_of(setting(tmp_path, *lines), answers, {"a": "on", "b": "off"}, logged, DEVICES)
    assert (first.local, first.cloud, second.local, second.cloud) == (True, True, True, False)
    assert (first.agrees, second.agrees) == (True, False)


@pytest.mark.parametrize("times", [0, 2])
def test_an_answer_said_to_be_logged_is_lost_unless_it_is_in_the_log_exactly_once(times):
    logged = Counter({("edge-1", query_id(0)): times})
    assert lost(asked(answer(0, logged=True)), logged, DEVICES) == 1


def test_an_answer_that_is_in_the_log_once_or_was_never_said_to_be_is_not_lost():
    logged = Counter({("edge-1", query_id(0)): 1})
    assert lost(asked(answer(0, logged=True), answer(1, logged=False)), logged, DEVICES) == 0


def test_errors_are_lost_queries_but_for_passed_deadlines_and_bad_input():
    errors = {0: UnavailableError("away"), 1: DeadlineError("late"), 2: BadInputError("input", "is empty")}
    assert lost(asked(None, None, None, errors=errors), Counter(), DEVICES) == 1
