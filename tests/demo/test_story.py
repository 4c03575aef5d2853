"""What a demo says of what happens: of the next release, of new intents, and of the promise."""

import pytest

from cloud_worker.state.store import TaskState
from cloud_worker.state.task_figures import Figures, Waiting
from demo.measure import WINDOW, Row, figures
from demo.story import Newcomers, newcomers, next_release, told
from router.core.domain.task import Mode
from router.core.release.orders import Watch

WAITING = Waiting(release=3, rows=230, losses=2, expected_rows=369.2, rate=0.4, patience=1025, weight=210.4)


def state(**changes):
    known = {"name": "commands", "version": 1, "mode": Mode.SERVE, "exploration": 0.4, "champion": 0, "attempt": 1}
    known |= {"manifest_sha256": "", "phase": "idle", "phase_note": "", "phase_progress": 0.0, "watch": "quiet"}
    known |= {"rows_seen": 0, "rows_at_refresh": 0, "refreshed_at": 0.0, "log_version_seen": 0, "updated_at": 0.0}
    return TaskState(**{**known, **changes})


def seen(**changes):
    return Figures(**{"at": 1.0, "taught": 900, "needed": 1350, **changes})


def test_a_challenger_says_how_many_rows_of_how_many_it_has():
    said = next_release(state(phase="waiting", champion=2), seen(waiting=WAITING))
    assert said == "the challenger, release 3, waits for its certificate: 210 of about 370 rows, 2 lost"


def test_a_release_that_serves_already_waits_for_proof_that_it_may_keep_more():
    said = next_release(state(phase="waiting", champion=5), seen(waiting=WAITING))  # the same student as release 3's
    assert said.startswith("release 5 serves, and waits for proof that it may keep more: 210 of about 370 rows")


@pytest.mark.parametrize("expected", [0.0, 150.0])
def test_a_challenger_that_is_past_what_was_expected_says_how_far_it_may_go(expected):
    waiting = Waiting(3, 230, 2, expected, 0.4, 1025, 210.4)
    said = next_release(state(phase="waiting", champion=2), seen(waiting=waiting))
    assert said.endswith("210 rows, 2 lost, at most 1,025")


def test_without_a_challenger_it_says_when_the_next_student_is_trained_and_what_came_of_the_last():
    idle = state(phase="idle", phase_note="release 2 rejected: no certificate: 400 rows")
    assert next_release(idle, seen()) == (
        "release 2 rejected: no certificate: 400 rows; "
        "the next student is trained at 1,350 rows that teach, 900 are there"
    )


def test_before_anything_was_seen_it_says_nothing():
    assert next_release(state(phase="idle"), None) == ""
    assert next_release(state(phase="waiting"), None) == ""


def test_where_nothing_is_to_be_trained_no_rows_are_promised():
    assert next_release(state(phase="idle", phase_note="it may not"), seen(needed=0)) == "it may not"


def test_a_broken_promise_goes_before_everything_else():
    said = next_release(state(phase="waiting", champion=2, watch=Watch.ALARMED), seen(waiting=WAITING))
    assert "release 2 broke its promise" in said
    assert "everything escalates" in said


NEW = Newcomers(first=3749, intents=6, learned=0, asked=500, new=70, escalated=63)


def test_new_intents_that_no_student_has_learned_escalate():
    said = newcomers(NEW, champion=2)
    assert said == (
        "6 new intents since query 3,750, 14% of late: release 2 has learned none of them, "
        "no student may keep them yet; 90% of them escalate"
    )


def test_new_intents_that_are_learned_are_told_as_that():
    assert "release 3 has learned 5 of them, 4% of them escalate" in newcomers(
        Newcomers(3749, 6, 5, 500, 50, 2), champion=3
    )


def test_new_intents_without_a_student_or_an_answer_are_told_too():
    assert "no student serves" in newcomers(NEW, champion=0)
    assert newcomers(Newcomers(3749, 6, 0, 500, 0, 0), champion=1) == "6 new intents since query 3,750"


def rows(count, wrong=0, new=0, **changes):
    known = {"local": True, "cloud": False, "explored": False, "covered": True, "right": True, "milliseconds": 1.0}
    made = [Row(**{**known, "agrees": True, "release": 1, **changes})] * (count - wrong)
    return [*made, *(Row(**{**known, "agrees": False, "release": 1, **changes, "new": n < new}) for n in range(wrong))]


def ended(run, **changes):
    return figures(run, [], 1.0, agents=2, lost=0) | {"waits": "", **changes}


def test_a_run_that_keeps_its_promise_everywhere_needs_no_words():
    assert told(ended(rows(3 * WINDOW, wrong=10)), 0.02) == []


def test_each_window_above_the_promise_is_told_with_its_share_and_with_what_differs_there():
    run = [*rows(WINDOW), *rows(WINDOW, wrong=15, new=12), *rows(3 * WINDOW), *rows(200, wrong=6)]
    [said] = [one for one in told(ended(run), 0.02) if "windows" in one]
    assert "2 of 6 windows are above 2.0%: queries 501 to 1,000 (3.0%), 2,501 to 2,700 (3.0%)." in said
    assert "57% of what differs there are new intents" in said
    assert "The promise is over all queries of a release" in said


def test_windows_above_without_new_intents_blame_none():
    [said] = told(ended([*rows(WINDOW, wrong=15), *rows(2 * WINDOW)]), 0.02)
    assert "1 of 3 windows is above" in said
    assert "new intents" not in said


@pytest.mark.parametrize(("wrong", "how"), [(12, "no more than chance explains"), (60, "a broken promise")])
def test_a_release_above_the_promise_is_told_with_whether_chance_explains_it(wrong, how):
    [said] = [one for one in told(ended(rows(WINDOW, wrong=wrong)), 0.02) if one.startswith("Release 1")]
    assert f"{wrong / WINDOW:.2%} of its 500 queries" in said
    assert how in said


def test_the_first_release_that_has_learned_new_intents_is_named():
    served = [{"number": 2, "at_query": 900, "new_intents": 0}, {"number": 3, "at_query": 1400, "new_intents": 5}]
    made = ended(rows(3 * WINDOW), new_intents_from=1000, releases=served)
    [said] = told(made, 0.02)
    assert said == (
        "New intents are asked from query 1,001 on. "
        "Release 3, from query 1,401 on, is the first that has learned 5 of them."
    )


def test_new_intents_that_no_release_has_learned_are_told_with_what_the_next_one_waited_for():
    made = ended(rows(3 * WINDOW), new_intents_from=1000, waits="the challenger, release 3, waits for its certificate")
    [said] = told(made, 0.02)
    assert "No release that served since has learned them: no student may keep them yet" in said
    assert "the challenger, release 3, waits" in said


@pytest.mark.parametrize("run", [[], rows(20)])
def test_the_shortest_run_has_an_end_too(run):
    assert told(ended(run), 0.02) == []


def test_a_label_that_was_known_before_it_was_asked_is_not_learned():
    served = [{"number": 2, "at_query": 900, "new_intents": 1}, {"number": 3, "at_query": 1400, "new_intents": 1}]
    [said] = told(ended(rows(3 * WINDOW), new_intents_from=1000, releases=served), 0.02)
    assert "No release that served since has learned them" in said
