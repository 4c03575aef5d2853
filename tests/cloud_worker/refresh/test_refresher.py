import math
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.releases.first_release import publish_first_releases
from cloud_worker.releases.publisher import Publisher
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.state.task_figures import Board
from router.core.domain.record import unit_interval
from router.core.domain.task import Exploration, Judge
from router.core.refresh.proving import close
from router.core.refresh.step import carry_out
from router.core.release.manifest import read_manifest
from router.core.statistics.e_process import attempt_alpha
from router.students.loader import check_golden

WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock", "hour": "clock"}
LIARS = {"light": "lights", "lamp": "lights", "song": "lights", "tune": "lights", "noon": "clock", "hour": "music"}
OUTSIDE = "fog"  # no student knows it: its queries escalate


def test_too_few_rows_are_counted_and_wait(world):
    world.ask_and_step(50)
    assert world.fitted_rows == []
    state = world.state
    assert (state.phase, state.rows_seen, state.log_version_seen) == ("idle", 50, world.log.version())


def test_the_first_release_is_proved_and_serves(world):
    world.until_certified()
    state = world.state
    manifest = read_manifest((world.publisher.path("home", state.champion) / "manifest.json").read_bytes())
    certificate = manifest.certificate
    assert certificate.log_evidence >= -math.log(certificate.alpha)
    assert (certificate.attempt, certificate.alpha) == (1, attempt_alpha(0.95, 1))
    assert certificate.allowance == 0.02
    assert certificate.losses == 0
    assert 200 <= certificate.rows <= 500
    assert state.exploration == world.config.task("home").exploration.floor
    check_golden(world.publisher.path("home", state.champion), manifest)
    told = Promises(world.config.tasks, world.store, world.publisher).gather()["home"].as_json()["classes"]
    assert {one["label"]: one["kept"] for one in told} == {"lights": 1.0, "music": 1.0, "clock": 1.0, "weather": 0.0}
    assert sum(one["rows"] for one in told) == certificate.rows


def test_a_release_says_by_which_recipe_it_was_taught_and_what_is_to_be_said_of_it(world):
    world.remark = "half of it as plain text"
    world.ask_and_step(200)
    assert world.state.phase_note.endswith(world.remark)
    world.until_certified()
    champion = world.state.champion
    assert world.publisher.manifest("home", champion).lineage.recipe == "soft-labels"
    (row,) = (row for row in world.store.releases("home") if row.number == champion)
    assert row.remark == world.remark


def test_a_recipe_that_uses_queries_without_an_answer_gets_them_and_no_other_does(world):
    old = [
        world.record(9000 + position, f"old {position}", is_reference=False, explored=False) for position in range(3)
    ]
    world.log.append(old, "another spool", 3)
    world.ask_and_step(200)
    assert world.recipes[-1].auxiliary.queries == ()
    few_shot = replace(world.config.task("home"), recipe="few-shot")
    world.config = world.config.model_copy(update={"tasks": (few_shot,)})
    world.start()
    for _ in range(20):
        world.ask_and_step(100)
        if len(world.recipes) > 1:
            break
    assert [row.text for row in world.recipes[-1].auxiliary.queries] == ["old 0", "old 1", "old 2"]


def test_rows_that_certify_have_taught_nothing_before(world):
    world.until_certified()
    taught = {row.key for row in world.fitted_rows[0]}
    assert taught.isdisjoint(world.store.spent_by("home", world.state.champion))


def test_rows_that_have_certified_teach_the_next_student(world):
    world.until_certified()
    world.words = world.said = {**WORDS, OUTSIDE: "weather"}
    for _ in range(40):
        world.ask_and_step(100)
        if len(world.fitted_rows) > 1:
            break
    taught = {row.key for row in world.fitted_rows[-1]}
    assert world.store.spent_by("home", 1) <= taught


def test_a_better_student_takes_the_champions_place(world):
    world.until_certified()
    first = world.state.champion
    world.words = world.said = {**WORDS, OUTSIDE: "weather"}
    for _ in range(120):
        world.ask_and_step(100)
        if world.publisher.manifest("home", world.state.champion).content is None and world.state.champion != first:
            break
    states = {row.number: row.state for row in world.store.releases("home")}
    assert world.state.champion > first
    assert states[world.state.champion] == "champion"
    assert states[first] == "retired"


def wait_beside_a_champion(world):
    world.until_certified()
    world.words = world.said = {**WORDS, OUTSIDE: "weather"}
    for _ in range(120):
        world.ask_and_step(50)
        if world.state.phase == "waiting":
            return
    raise AssertionError("no challenger waits")


def test_exploration_rises_while_a_challenger_waits(world):
    wait_beside_a_champion(world)
    assert world.state.exploration > world.config.task("home").exploration.floor


def test_a_challenger_beside_a_champion_survives_a_kill_with_its_weights(world):
    wait_beside_a_champion(world)
    for _ in range(4):
        world.ask_and_step(100)
    before = world.refresher.contexts["home"].loop.trial
    for _ in range(100):  # until no row waits for its device's share: which one does goes by who was heard of by then
        if not before.apart:
            break
        world.ask_and_step(1)
    world.start()
    after = world.refresher.contexts["home"].loop.trial
    assert 0 < after.weight < after.rows  # what had to be asked is among them
    assert Counter(after.observations) == Counter(before.observations)
    assert replace(after, observations=[]) == replace(before, observations=[])
    assert after.certified() == before.certified()
    waiting = Board(world.store.engine).read("home", 1).waiting
    assert (waiting.rows, waiting.weight) == (after.rows, after.weight)


def test_a_student_that_is_worse_than_it_claims_never_serves(world):
    world.words = LIARS
    for _ in range(20):
        world.ask_and_step(100)
    releases = world.store.releases("home")[1:]
    assert releases
    assert {row.state for row in releases} <= {"rejected", "waiting"}
    assert world.state.champion == 0
    assert world.state.exploration == 1.0


def test_a_few_more_rows_start_another_fit_while_no_student_serves(world):
    world.words = LIARS
    for _ in range(14):
        world.ask_and_step(100)
    rejected = sum(row.state == "rejected" for row in world.store.releases("home"))
    assert rejected >= 4
    fits = [len(rows) for rows in world.fitted_rows]
    assert all(after < world.config.refresh.growth * before for before, after in pairwise(fits[2:]))


def test_each_attempt_is_counted_once_and_each_row_spent_once(world):
    world.words = LIARS
    for _ in range(25):
        world.ask_and_step(100)
    releases = world.store.releases("home")[1:]
    assert world.state.attempt == len(releases) >= 2
    attempts = [world.publisher.manifest("home", row.number).lineage.attempt for row in releases]
    assert attempts == list(range(1, len(releases) + 1))
    spent = [world.store.spent_by("home", row.number) for row in releases]
    assert sum(len(keys) for keys in spent) == len(world.store.spent("home"))


def test_a_failing_fit_is_noted_and_tried_again_when_there_is_more(world):
    world.broken = True
    world.ask_and_step(300)
    assert world.state.phase_note == "failed: RuntimeError; the log of the refresher says more"
    assert world.state.phase == "idle"
    assert world.state.log_version_seen == world.log.version()
    world.ask_and_step(10)
    assert len(world.fitted_rows) == 1
    world.broken = False
    world.ask_and_step(30)
    assert len(world.fitted_rows) == 2
    world.until_certified()


def test_a_failed_fit_is_tried_again_at_the_next_start_and_not_before(world):
    world.broken = True
    world.ask_and_step(300)
    for _ in range(3):
        world.refresher.step()
    assert len(world.fitted_rows) == 1
    world.broken = False
    world.start()
    world.refresher.step()
    assert len(world.fitted_rows) == 2
    assert world.state.phase == "waiting"


def test_a_failed_fit_is_tried_again_after_the_longest_time_between_two(world):
    world.broken = True
    world.ask_and_step(300)
    world.store.update_task("home", refreshed_at=1.0)
    world.broken = False
    world.ask_and_step(1)
    assert len(world.fitted_rows) == 2


def test_a_release_whose_making_fails_is_given_up_at_once(world, monkeypatch):
    def full(*_):
        raise OSError("no space left on /data")

    monkeypatch.setattr(Publisher, "publish", full)
    world.ask_and_step(300)
    assert world.state.phase_note == "failed: OSError; the log of the refresher says more"
    assert {row.state for row in world.store.releases("home")} == {"champion", "rejected"}


def test_a_log_without_anything_new_is_looked_at_only_as_often_as_its_guard_looks(world, monkeypatch):
    world.until_certified()
    world.store.update_task("home", refreshed_at=1.0)
    read = []
    monkeypatch.setattr(DistillationLog, "read", lambda *asked, **more: read.append(asked))
    for _ in range(5):
        world.refresher.step()
    assert read == []


def wait(world):
    world.ask_and_step(600)
    assert world.state.phase == "waiting"


def test_a_waiting_challenger_survives_a_kill_with_its_evidence(world):
    wait(world)
    world.ask_and_step(40)
    before = world.refresher.contexts["home"].loop.trial
    before.share(frozenset())  # as a new start does, whose reading by devices takes what it may at once
    world.start()
    after = world.refresher.contexts["home"].loop.trial
    observations = Counter(before.observations)
    assert replace(after, observations=[]) == replace(before, observations=[])
    assert Counter(after.observations) == observations
    assert len(world.fitted_rows) == 1
    world.until_certified()
    assert world.state.champion == before.number


def test_a_looser_threshold_serves_as_a_new_release_of_the_same_content(world):
    wait(world)
    context = world.refresher.contexts["home"]
    loop, trial = context.loop, context.loop.trial
    world.until_certified()
    first = world.state.champion
    assert first == trial.number
    assert world.publisher.manifest("home", first).policy.threshold == trial.serving
    loop.begin_trial(trial, loop.taught, loop.attempt)  # as if it had gone on, and more rows had come
    trial.serving = 2.0 - 1e-9
    carry_out(close(loop), partial(world.refresher.do, context))
    looser = world.publisher.manifest("home", world.state.champion)
    assert looser.number > first
    assert looser.content == first
    assert looser.policy.threshold == trial.certified()
    assert looser.files == world.publisher.manifest("home", first).files
    assert looser.certificate.attempt == 1
    assert {row.number: row.state for row in world.store.releases("home")}[first] == "retired"


def test_a_challenger_goes_on_at_the_rate_that_it_waits_for(world):
    wait(world)
    world.store.update_task("home", exploration=0.01, phase="fitting")  # killed between two changes
    world.start()
    assert (world.state.exploration, world.state.phase) == (1.0, "waiting")


def test_a_half_made_challenger_is_made_anew_under_a_new_number(world, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    world.ask(600)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Publisher, "publish", killed)
        world.refresher.step()
    world.start()
    assert [row.state for row in world.store.releases("home")] == ["champion", "rejected"]
    assert world.state.phase == "idle"
    world.until_certified()
    numbers = [row.number for row in world.store.releases("home")]
    assert len(set(numbers)) == len(numbers)
    assert world.state.champion == numbers[-1]
    assert world.publisher.manifest("home", numbers[-1]).lineage.attempt == 2


def test_a_challenger_whose_files_are_lost_is_given_up(world):
    wait(world)
    number = world.refresher.contexts["home"].loop.trial.number
    shutil.rmtree(world.publisher.path("home", number))
    world.start()
    (row,) = [row for row in world.store.releases("home") if row.number == number]
    assert row.state == "rejected"
    assert world.state.phase == "idle"
    world.until_certified()


def explore(world, **rates):
    """Another exploration, by the operator's wish."""
    task = replace(world.config.task("home"), exploration=Exploration(**rates))
    world.config = world.config.model_copy(update={"tasks": (task,)})
    world.start()


def test_a_release_that_may_not_explore_beside_itself_serves_and_ends_its_trial(world):
    explore(world, cold=1.0, floor=0.0, waiting=0.0)
    world.until_certified()
    first = world.state.champion
    for _ in range(4):
        world.ask_and_step(400)
    state = world.state
    assert (state.champion, state.phase, state.exploration) == (first, "idle", 0.0)
    assert state.phase_note == "it may not explore beside a release that serves: exploration gives no room for it"
    assert len(world.fitted_rows) == 1  # none is fitted in vain
    promise = Promises(world.config.tasks, world.store, world.publisher).gather()["home"].as_json()
    assert (promise["state"], promise["why"]) == ("unproven", "it may not explore: exploration.floor is 0")
    assert promise["missing"] is None


def test_a_task_that_may_not_explore_at_all_fits_nothing_and_says_so(world):
    explore(world, cold=0.0)
    world.ask_and_step(600)
    assert (world.fitted_rows, world.state.phase) == ([], "idle")
    promise = Promises(world.config.tasks, world.store, world.publisher).gather()["home"].as_json()
    assert (promise["state"], promise["why"]) == ("unproven", "it may not explore: exploration.cold is 0")
    assert promise["missing"] is None


def test_nothing_new_in_the_log_changes_nothing(world):
    world.ask_and_step(150)
    before = world.state
    world.refresher.step()
    assert world.state == before


def test_a_new_version_of_a_task_starts_a_new_lineage_above_the_old_numbers(world):
    world.until_certified()
    old = world.state.champion
    task = replace(world.config.task("home"), version=2)
    world.config = world.config.model_copy(update={"tasks": (task,)})
    world.store.declare_tasks([task])
    publish_first_releases([task], world.store, world.publisher)
    world.start()
    assert world.state.champion > old
    assert (world.state.attempt, world.state.exploration) == (0, task.exploration.cold)
    world.record = partial(world.record, task_version=2)
    world.until_certified()
    assert world.publisher.manifest("home", world.state.champion).lineage.attempt == 1


def test_a_champion_that_breaks_its_promise_gives_way_to_the_cloud_until_another_is_certified(world):
    world.truth = {**world.truth, "song": "lights", "tune": "lights"}  # the student has it wrong, and nobody asks
    world.asks = ["lamp", "light", "noon", "hour", OUTSIDE]
    world.until_certified()
    broken = world.state.champion
    world.asks = [*sorted(WORDS), OUTSIDE]  # now they do
    for _ in range(40):
        world.ask_and_step(100)
        if world.state.watch == "alarmed":
            break
    assert (world.state.watch, world.state.exploration) == ("alarmed", world.config.task("home").exploration.cold)
    world.words = world.said = {**WORDS, "song": "lights", "tune": "lights"}
    for _ in range(40):
        world.ask_and_step(100)
        if world.state.champion != broken:
            break
    assert (world.state.champion != broken, world.state.watch) == (True, "quiet")


def test_a_champion_that_keeps_its_promise_is_not_alarmed(world):
    world.until_certified()
    for _ in range(10):
        world.ask_and_step(200)
    assert world.state.watch == "quiet"


def test_a_promise_that_the_reference_itself_breaks_is_refused_with_the_least_possible(world):
    world.wavering = lambda record: unit_interval("wavers", record.query_id) < 0.15
    world.ask(300)
    world.refresher.step()
    assert world.state.attempt == 0 and world.fitted_rows == []
    assert "the reference differs from itself on" in world.state.phase_note
    assert "of 200 queries asked twice" in world.state.phase_note
    assert world.state.phase == "idle"


def test_a_release_says_how_steady_its_reference_is_and_who_judged(world):
    world.wavering = lambda record: False
    world.ask(300)
    world.refresher.step()
    world.ask(800)
    world.refresher.step()
    manifest = world.publisher.manifest("home", 1)
    assert manifest.self_agreement == 1.0
    assert manifest.judged_by == "label"


def test_another_judge_needs_a_new_version_of_the_task(world):
    world.ask(300)
    world.refresher.step()
    world.config = world.config.model_copy(
        update={"tasks": (replace(world.config.task("home"), judge=Judge.NORMALISED_TEXT),)}
    )
    world.start()
    world.ask(2000)
    world.refresher.step()
    world.ask(3000)
    world.refresher.step()
    assert "a new judge is a new version, 2 or above" in world.state.phase_note
