from dataclasses import replace

import pytest

from router.core.certification.live_watch import MOST_FALLBACKS
from router.core.certification.refresh_schedule import Champion, Pace
from router.core.certification.served_releases import ServedRelease
from router.core.domain.prediction import Prediction
from router.core.domain.task import Objective, Task, agree
from router.core.policy.deferral import Policy
from router.core.refresh.actions import Predict
from router.core.refresh.loop_state import LoopState, StepInputs, TaskReleases
from router.core.refresh.way_back import way_back
from router.core.release.manifest import Manifest, StudentSpec
from router.core.release.orders import Watch
from router.core.statistics.e_process import Certificate, attempt_alpha

TASK = Task("home", reference="big", objective=Objective(0.05))
SPEC = StudentSpec("compact", "model", "tokenizer", (), 0, "1")


def judging(asked, answer, reference):
    return agree(TASK.judge, answer, reference)


def release(number, content=None, threshold=0.5, **facts):
    proof = Certificate(0.05, attempt_alpha(0.95, 1), 300, 1, 4.0, 1, last_asked_at=0.0)
    return ServedRelease(
        Manifest(TASK, number, 0.0, Policy(threshold), student=SPEC, certificate=proof, content=content), 0.5, **facts
    )


def loop_of(rows, *served, watch=Watch.ALARMED):
    releases = TaskReleases(1.0, served[-1].number, watch, served={one.number: one for one in served})
    loop = LoopState(TASK, judging, Pace(), releases)
    loop.take([(1, row) for row in rows])
    return loop


def back(loop, says=None, broken=()):
    """Which fallback release serves, where each says one answer to everything, ``lights`` by default."""
    search = way_back(loop, StepInputs(0.0, loop.releases))
    answer = None
    try:
        while True:
            asked = search.send(answer)
            assert isinstance(asked, Predict)
            said = Prediction((says or {}).get(asked.release, "lights"), 0.9)
            answer = None if asked.release in broken else [said] * len(asked.rows)
    except StopIteration as found:
        return None if found.value is None else found.value.number


@pytest.fixture
def rows(record):
    return [record(position, answer="lights") for position in range(1, 200)]


def test_what_has_alarmed_is_no_champion(rows):
    loop = loop_of(rows, release(1), watch=Watch.QUIET)
    assert loop.champion == Champion(1, 0.5)
    loop.change(watch=Watch.ALARMED)
    assert loop.champion == Champion()


def test_a_fallback_release_that_the_rows_do_not_speak_against_serves_again(rows):
    assert back(loop_of(rows, release(1), release(2, alarmed=True))) == 1


def test_a_fallback_release_that_the_rows_speak_against_does_not(rows):
    assert back(loop_of(rows, release(1), release(2, alarmed=True)), {1: "music"}) is None


def test_rows_of_before_its_certificate_say_nothing_of_it(rows):
    proof = replace(release(1).manifest.certificate, last_asked_at=1000.0)
    fallback = replace(release(1), manifest=replace(release(1).manifest, certificate=proof))
    assert back(loop_of(rows, fallback, release(2, alarmed=True)), {1: "music"}) == 1


def test_the_latest_of_several_serves(rows):
    assert back(loop_of(rows, release(1), release(2), release(3, alarmed=True))) == 2


def test_one_that_can_not_be_opened_is_passed_over(rows):
    assert back(loop_of(rows, release(1), release(2), release(3, alarmed=True)), broken={2}) == 1


def test_a_looser_threshold_of_what_broke_its_promise_never_serves_again(rows):
    looser, broke = release(1, threshold=0.4), release(2, content=1, threshold=0.6, alarmed=True)
    stricter, champion = release(3, content=1, threshold=0.8), release(4, alarmed=True)
    assert back(loop_of(rows, looser, broke, champion)) is None
    assert back(loop_of(rows, looser, broke, stricter, champion)) == 3


def test_a_release_under_two_numbers_is_one(rows):
    assert back(loop_of(rows, release(1), release(2, content=1))) is None


def test_only_the_latest_few_are_tried(rows):
    bad = [release(number) for number in range(2, 2 + MOST_FALLBACKS)]
    champion, says = release(9, alarmed=True), dict.fromkeys(range(2, 2 + MOST_FALLBACKS), "music")
    assert back(loop_of(rows, release(1), *bad, champion), says) is None
    assert back(loop_of(rows, release(1), *bad[1:], champion), says) == 1


def test_what_is_made_for_another_version_of_the_task_does_not_serve(rows):
    other = replace(release(1), manifest=replace(release(1).manifest, task=replace(TASK, version=2)))
    assert back(loop_of(rows, other, release(2, alarmed=True))) is None
