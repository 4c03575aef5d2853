from dataclasses import replace

import pytest

from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.certification.certificate_validity import content_of, why_fallen, why_never_proved, why_unwatched
from router.core.domain.task import Exploration, Objective, Privacy, Task
from router.core.privacy.read_version import read_version
from router.core.statistics.e_process import Certificate, attempt_alpha

TASK = Task("home", reference="big")
PROOF = Certificate(0.02, attempt_alpha(0.95, 2), 400, 1, 9.0, attempt=2)
RELEASE = replace(tiny_release(TASK, 3, WORDS)[0], certificate=PROOF, judged_by="label")


def test_a_certificate_speaks_for_the_task_that_it_was_made_for():
    assert why_fallen(RELEASE, TASK, "label") == ""


@pytest.mark.parametrize(
    ("task", "judged_by", "words"),
    [
        (replace(TASK, version=2), "label", "version 1"),
        (replace(TASK, reference="other"), "label", "reference was big"),
        (TASK, "verdict-1", "judged by label"),
        (replace(TASK, objective=Objective(0.01, 0.95)), "label", "2.00%"),
        (replace(TASK, objective=Objective(0.02, 0.99)), "label", "99%"),
    ],
)
def test_a_certificate_falls_with_what_it_was_made_for(task, judged_by, words):
    assert words in why_fallen(RELEASE, task, judged_by)


MASKED = replace(RELEASE, certificate=replace(PROOF, teacher_version=read_version("v1", ("mail", "phone"))))


@pytest.mark.parametrize(
    ("redact", "stands"),
    [
        (("phone", "mail"), True),
        (("mail", "phone", "mail"), True),
        (("mail",), False),
        (("mail", "phone", "ip"), False),
        ((), False),
    ],
)
def test_a_certificate_speaks_of_texts_from_which_the_same_is_taken_out(redact, stands):
    why = why_fallen(MASKED, replace(TASK, privacy=Privacy(redact)), "label")
    assert ("redacted otherwise" in why, why == "") == (not stands, stands)


def test_a_looser_wish_keeps_a_certificate():
    assert why_fallen(RELEASE, replace(TASK, objective=Objective(0.05, 0.9))) == ""


def test_what_was_never_certified_has_no_proof_and_what_keeps_nothing_needs_none():
    assert why_fallen(replace(RELEASE, certificate=None), TASK) == "it was never certified"
    assert why_fallen(replace(RELEASE, certificate=None, student=None), TASK) == ""


@pytest.mark.parametrize(
    ("task", "rows", "watched"),
    [
        (TASK, 0, True),
        (replace(TASK, exploration=Exploration(floor=0.0)), 10, False),
        (replace(TASK, local_only=True), 0, False),
        (replace(TASK, log_by_default=False), 0, False),
        (replace(TASK, log_by_default=False), 10, True),
    ],
)
def test_what_may_not_be_explored_can_not_be_watched(task, rows, watched):
    assert (why_unwatched(task, rows) == "") is watched


def test_what_is_never_explored_without_a_student_never_gets_one():
    assert why_never_proved(TASK) == ""
    assert "cold is 0" in why_never_proved(replace(TASK, exploration=Exploration(cold=0.0)))


def test_a_rollback_has_the_content_of_the_number_that_it_names():
    assert content_of(RELEASE) == 3
    assert content_of(replace(RELEASE, number=9, content=3)) == 3
