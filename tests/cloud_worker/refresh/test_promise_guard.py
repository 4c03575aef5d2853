"""What the operator override and the watch do to a refresher that runs."""

import shutil
import time
from dataclasses import replace

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.refresh.monitoring.blindness import BlindnessCheck
from cloud_worker.releases.certificates import Certificates
from cloud_worker.releases.rollback import roll_back
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.traffic import Traffic
from router.core.domain.task import Mode
from router.core.release.reports import DeviceReport, TaskReport

WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock", "hour": "clock"}
OUTSIDE = "fog"


def lay(world, **changes):
    return Overrides(world.store.engine).lay("test", "home", who="me", why="", now=float(world.asked), **changes)


def promise(world):
    return Promises(world.config.tasks, world.store, world.publisher).gather()["home"].as_json()


def teach_more(world):
    world.words = world.said = {**WORDS, OUTSIDE: "weather"}


def until_two_have_served(world):
    world.until_certified()
    first = world.state.champion
    teach_more(world)
    for _ in range(20):
        world.ask_and_step(600)
        if world.publisher.manifest("home", world.state.champion).content is None and world.state.champion != first:
            return first, world.state.champion
    raise AssertionError(f"no second release was certified: {world.store.releases('home')}")


def test_a_frozen_task_fits_nothing_and_goes_on_when_thawed(world):
    lay(world, frozen=True)
    for _ in range(3):
        world.ask_and_step(200)
    assert world.fitted_rows == []
    assert world.state.champion == 0
    lay(world, frozen=False)
    world.until_certified()


def test_a_challenger_waits_while_the_task_is_frozen_and_explores_no_more_than_at_rest(world):
    world.until_certified()
    teach_more(world)
    world.ask_and_step(3000)
    assert world.state.phase == "waiting"
    waiting = world.state.exploration
    trial = world.refresher.contexts["home"].loop.trial
    lay(world, frozen=True)
    world.refresher.step()
    rows = trial.rows
    assert world.state.exploration == pytest.approx(0.05) and waiting > 0.05
    champion = world.state.champion
    world.ask_and_step(1000)
    assert (world.state.champion, trial.rows) == (champion, rows)
    lay(world, frozen=False)
    world.refresher.step()
    assert world.state.exploration == waiting
    for _ in range(30):
        world.ask_and_step(100)
        if world.state.champion != champion:
            return
    raise AssertionError("the challenger never went on")


def test_a_pinned_release_serves_under_a_new_number_and_holds_promotions(world):
    first, second = until_two_have_served(world)
    lay(world, pinned=first)
    world.refresher.step()
    number = world.state.champion
    manifest, old = world.publisher.manifest("home", number), world.publisher.manifest("home", first)
    assert number > second
    assert (manifest.content, manifest.policy, manifest.files) == (first, old.policy, old.files)
    assert (manifest.certificate, world.state.watch) == (old.certificate, "quiet")
    world.refresher.step()
    fits = len(world.fitted_rows)
    world.ask_and_step(3000)
    assert (world.state.champion, len(world.fitted_rows)) == (number, fits)
    lay(world, pinned=None)
    for _ in range(30):
        world.ask_and_step(300)
        if world.state.champion != number:
            break
    assert world.state.champion > number  # something better took its place


def test_what_serves_already_is_pinned_without_a_new_number(world):
    world.until_certified()
    champion = world.state.champion
    lay(world, pinned=champion)
    world.refresher.step()
    assert world.state.champion == champion


def test_a_pin_whose_files_are_lost_leaves_what_serves_and_says_so(world):
    first, second = until_two_have_served(world)
    shutil.rmtree(world.publisher.path("home", first))
    lay(world, pinned=first)
    world.refresher.step()
    assert world.state.champion == second
    assert f"release {first} can't serve" in world.state.phase_note


def test_a_pin_that_a_disk_does_not_let_serve_tells_no_path(world, monkeypatch):
    first, _ = until_two_have_served(world)

    def full(*_, **changes):
        raise OSError(28, "No space left on device", "/data/releases")

    monkeypatch.setattr("cloud_worker.refresh.promise_guard.roll_back", full)
    lay(world, pinned=first)
    world.refresher.step()
    assert world.state.phase_note == f"release {first} can't serve: OSError; the log of the refresher says more"


def test_a_pin_by_force_is_told_as_unproven_and_ends_with_the_fallback_release(world):
    first, second = until_two_have_served(world)
    lay(world, pinned=first, forced=True)
    world.refresher.step()
    assert world.state.watch == "unproven"
    told = promise(world)
    assert (told["state"], told["why"]) == ("unproven", "it is pinned without proof")
    lay(world, pinned=None, forced=False)
    world.refresher.step()
    assert world.publisher.manifest("home", world.state.champion).content == second
    assert world.state.watch == "quiet"


def broken(world):
    """Make the second release wrong on a word that the first escalates: only the second breaks its promise."""
    world.truth = {**world.truth, OUTSIDE: "storm"}
    for _ in range(40):
        world.ask(100)
        world.refresher.step()
        if world.state.champion and world.store.releases("home")[-1].back_to is not None:
            return
        if world.state.watch == "alarmed":
            return


def test_after_an_alarm_a_fallback_release_proves_itself_on_rows_asked_since_and_serves_again(world):
    first, second = until_two_have_served(world)
    assert world.publisher.manifest("home", second).student is not None
    broken(world)
    attempt = world.state.attempt
    assert (world.state.champion, world.state.watch, world.state.phase) == (second, "alarmed", "waiting")
    assert world.state.exploration == 1.0
    fits, alarmed_at = len(world.fitted_rows), world.asked
    world.start()  # it goes on after a kill
    assert world.refresher.contexts["home"].loop.trial.number == first
    for _ in range(20):
        assert len(world.fitted_rows) == fits  # no other student meanwhile
        world.ask_and_step(100)
        if world.state.watch == "quiet":
            break
    back = world.state.champion
    manifest, old = world.publisher.manifest("home", back), world.publisher.manifest("home", first)
    assert back > second
    assert (manifest.content, manifest.policy.threshold >= old.policy.threshold) == (first, True)
    assert manifest.certificate.attempt == attempt == world.state.attempt
    assert manifest.certificate.first_asked_at >= alarmed_at > old.certificate.last_asked_at
    assert world.state.watch == "quiet"
    marks = {row.number: row.alarmed for row in world.store.releases("home")}
    assert marks[second] and not marks[back]
    certificates, task = Certificates(world.store, world.publisher), world.config.task("home")
    one, other = (world.publisher.manifest("home", number) for number in (first, second))
    assert certificates.why_fallen(other, task) == "it broke its promise"
    assert certificates.why_fallen(one, task) == ""
    assert certificates.why_fallen(one, task, None, "another") == "its reference has another version now"


def test_a_fallback_release_that_the_same_rows_speak_against_does_not_serve_again(world):
    until_two_have_served(world)
    world.truth = {**world.truth, "song": "lights", "tune": "lights"}  # both have it wrong
    for _ in range(40):
        world.ask_and_step(100)
        if world.state.watch == "alarmed":
            break
    assert world.state.watch == "alarmed"
    assert promise(world)["state"] == "alarmed"


def test_a_pinned_release_that_breaks_its_promise_keeps_nothing_and_stays_pinned(world):
    world.until_certified()
    pinned = world.state.champion
    lay(world, pinned=pinned)
    world.truth = {**world.truth, "song": "lights", "tune": "lights"}
    for _ in range(10):
        world.ask_and_step(800)
        if world.state.watch == "alarmed":
            break
    fits = len(world.fitted_rows)
    world.ask_and_step(800)
    assert (world.state.champion, world.state.watch, len(world.fitted_rows)) == (pinned, "alarmed", fits)
    lay(world, pinned=None)
    world.ask_and_step(10)
    assert world.state.watch == "alarmed"
    assert len(world.fitted_rows) > fits  # a refresh was due


def test_observing_tells_what_would_have_stayed_and_what_that_would_save(world):
    world.until_certified()
    lay(world, mode=Mode.OBSERVE)
    world.extras = {"usd": 0.01, "milliseconds": 100.0}
    world.ask_and_step(700)
    told = promise(world)
    assert told["state"] == "escalating"
    seen = told["observed"]
    assert seen["rows"] == 700
    assert seen["kept"]["share"] == pytest.approx(6 / 7)
    assert seen["disagreement"]["share"] == 0.0
    assert seen["saved_usd"] == pytest.approx(0.95 * 600 * 0.01)
    assert seen["saved_seconds"] == pytest.approx(0.95 * 60.0)
    lay(world, mode=Mode.SERVE)
    assert promise(world)["observed"] is None


def test_the_watch_goes_on_while_the_operator_observes(world):
    world.until_certified()
    lay(world, mode=Mode.OBSERVE)
    world.truth = {**world.truth, "song": "lights", "tune": "lights"}
    for _ in range(60):
        world.ask_and_step(200)
        if world.state.watch == "alarmed":
            return
    raise AssertionError("a release that would have broken its promise was not found")


def test_another_version_of_the_reference_unmakes_the_certificate_of_what_serves(world):
    world.until_certified()
    old = world.state.champion
    assert world.publisher.manifest("home", old).certificate.teacher_version == "v1"
    world.extras = {"teacher_version": "v2"}
    world.ask_and_step(60)
    assert (world.state.champion, world.state.watch) == (old, "alarmed")
    told = promise(world)
    assert (told["state"], told["why"]) == ("unproven", "its reference has another version now; everything escalates")
    for _ in range(20):
        world.ask_and_step(100)
        if world.state.watch == "quiet":
            break
    assert world.state.champion > old
    assert world.publisher.manifest("home", world.state.champion).certificate.teacher_version == "v2"
    assert promise(world)["state"] == "proven"


def test_a_challenger_whose_rows_another_version_of_the_reference_answered_is_rejected(world):
    world.ask_and_step(200)
    world.ask_and_step(50)
    trial = world.refresher.contexts["home"].loop.trial
    assert trial.rows
    world.extras = {"teacher_version": "v2"}
    world.ask_and_step(60)
    states = {row.number: (row.state, row.reason) for row in world.store.releases("home")}
    assert states[trial.number] == ("rejected", "its reference has another version now")


def test_a_certificate_without_a_version_is_held_to_those_of_its_rows(world):
    world.until_certified()
    manifest = world.publisher.manifest("home", world.state.champion)
    unnoted = replace(manifest, certificate=replace(manifest.certificate, teacher_version=""))
    certificates = Certificates(world.store, world.publisher)
    assert not certificates.is_overtaken(unnoted, "v1")
    assert certificates.is_overtaken(unnoted, "v2")


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def a_check(world):
    return BlindnessCheck(world.config.task("home"), world.store), Clock()


def observe(check, clock, rows=()):
    check.take(rows)
    check.observe(clock.now)


def rows_of(world, count, at):
    return [world.record(position, received_at=at, asked_at=at) for position in range(count)]


@pytest.mark.parametrize(("came", "blind"), [(60, True), (185, False)])
def test_fewer_rows_than_planned_for_an_hour_is_blind_and_holds_promotions_until_they_come(world, came, blind):
    world.until_certified()
    check, clock = a_check(world)
    report = DeviceReport("kitchen", tasks=(TaskReport("home", answered=4000, covered=4000, exploration=0.05),))
    Traffic(world.store.engine).add(DeviceReport("kitchen"), report, clock.now - 600)
    observe(check, clock, rows_of(world, came, clock.now - 300))
    assert (world.state.watch, check.last_hour.is_blind) == (("blind", True) if blind else ("quiet", False))
    clock.now += 3600
    observe(check, clock)
    assert (world.state.watch, check.last_hour.is_blind) == ("quiet", False)  # nobody asks, and nothing is planned


def hold_back(world, at, seen_at, pending=150):
    """200 explored rows are planned at a time, and the device that was seen then still has most of them."""
    world.store.device("kitchen")
    tasks = (TaskReport("home", answered=4000, covered=4000, exploration=0.05),)
    report = DeviceReport("kitchen", tasks=tasks, outbox_pending=pending)
    world.store.save_report(report, seen_at)
    Traffic(world.store.engine).add(DeviceReport("kitchen"), report, at)


def quiet_home(world):
    """As if a release served that was certified."""
    world.store.update_task("home", watch="quiet")


def test_what_devices_still_hold_back_makes_nobody_blind(world):
    quiet_home(world)
    check, clock = a_check(world)
    hold_back(world, clock.now - 600, clock.now)
    observe(check, clock, rows_of(world, 60, clock.now - 300))
    assert world.state.watch == "quiet"


def test_what_a_device_held_back_that_is_long_gone_hides_nothing(world):
    quiet_home(world)
    check, clock = a_check(world)
    hold_back(world, clock.now - 600, clock.now - 60 * 86_400)
    observe(check, clock, rows_of(world, 60, clock.now - 300))
    assert world.state.watch == "blind"


def test_a_backlog_that_never_drains_hides_nothing_for_longer_than_an_hour(world):
    quiet_home(world)
    check, clock = a_check(world)
    seen = []
    for _ in range(9):
        clock.now += 600
        hold_back(world, clock.now - 200, clock.now, pending=5000)
        observe(check, clock, rows_of(world, 60, clock.now - 300))
        seen.append(world.state.watch)
    assert seen[:6] == ["quiet"] * 6
    assert seen[-1] == "blind"


def test_when_it_was_blind_is_known_after_a_restart_and_ends_when_rows_come(world):
    quiet_home(world)
    check, clock = a_check(world)
    hold_back(world, clock.now - 600, clock.now, pending=0)
    observe(check, clock, rows_of(world, 60, clock.now - 300))
    ((began, ended),) = check.spans
    assert clock.now - 3660 <= began <= clock.now - 3600
    assert ended == float("inf")
    again, later = a_check(world)
    later.now = clock.now + 7200
    observe(again, later)  # nobody asks
    assert again.spans == ((began, later.now),)


def test_a_refresher_does_not_promote_while_it_is_blind(world):
    report = DeviceReport("kitchen", tasks=(TaskReport("home", answered=9000, covered=9000, exploration=1.0),))
    Traffic(world.store.engine).add(DeviceReport("kitchen"), report, time.time() - 600)
    for _ in range(15):
        world.ask_and_step(100)  # rows of long ago: the hour has none
    assert world.state.champion == 0
    assert world.fitted_rows == []
    assert promise(world)["hour"]["blind"]


def test_a_rollback_that_was_killed_is_done_anew_under_the_next_number(world):
    first, second = until_two_have_served(world)

    def killed(task, number, digest, **changes):
        raise KeyboardInterrupt

    store = world.store
    taken = store.next_release("home")
    promote, store.promote = store.promote, killed
    with pytest.raises(KeyboardInterrupt):
        roll_back(store, world.publisher, world.config.task("home"), first, watch="quiet")
    store.promote = promote
    world.start()
    lay(world, pinned=first)
    world.refresher.step()
    assert world.state.champion == taken + 1 > second
    assert {row.number: row.state for row in world.store.releases("home")}[taken] == "rejected"


def test_a_stricter_wish_unmakes_a_certificate(world):
    world.until_certified()
    task = world.config.task("home")
    stricter = replace(task, objective=replace(task.objective, max_disagreement=0.01))
    told = Promises([stricter], world.store, world.publisher).gather()["home"].as_json()
    assert told["state"] == "unproven"
    assert "2.00%" in told["why"] and "1.00%" in told["why"]


def test_a_promise_tells_its_rows_and_what_the_next_fit_waits_for(world):
    world.until_certified()
    world.ask_and_step(2000)
    told = promise(world)
    certificate = world.publisher.manifest("home", world.state.champion).certificate
    assert told["state"] == "proven"
    assert told["certificate"]["rows"] == certificate.rows
    assert told["used"]["losses"] == 0
    assert 0 < told["used"]["rows"] < 400
    assert told["used"]["of_allowance_low"] == 0.0 < told["used"]["of_allowance_high"]
    assert told["missing"]["for"] == "fit"
    assert told["missing"]["rows"] == told["missing"]["expected"] - told["missing"]["have"]
    assert [delay["ratio"] for delay in told["delays"]] == [1.5, 2.0, 3.0]
    assert told["calibration"]["bins"]


def test_a_waiting_challenger_tells_how_many_rows_it_still_needs(world):
    world.ask_and_step(600)
    assert world.state.phase == "waiting"
    told = promise(world)
    missing, trial = told["missing"], world.refresher.contexts["home"].loop.trial
    assert (missing["for"], missing["release"], missing["have"]) == ("certificate", trial.number, int(trial.weight))
    assert missing["rows"] == missing["expected"] - missing["have"] > 0
    assert missing["queries"] == missing["rows"]  # without a student every query is explored
    assert told["state"] == "no_student"


def test_a_window_of_other_queries_is_warned_of_and_changes_nothing(world):
    world.until_certified()
    world.asks = ["lamp", "light", OUTSIDE, OUTSIDE, OUTSIDE]
    world.ask_and_step(5000)
    told = promise(world)
    assert set(told["inputs"]["warnings"]) >= {"escalation", "classes"}
    assert told["state"] == "proven"
    assert world.state.watch == "quiet"


def test_describing_an_unknown_manifest_calls_it_unproven(world):
    world.until_certified()
    shutil.rmtree(world.publisher.path("home", world.state.champion))
    assert promise(world)["state"] == "unproven"


def synced(world, clock, device, answered, **fields):
    """Two reports of a device, as the gateway takes them: nothing, and ten minutes later what it says that it did."""
    fleet = FleetServicer(world.store, Fleet(), insecure=True, tasks=world.config.tasks, clock=clock)
    clock.now -= 1200
    fleet.answer(DeviceReport(device, tasks=(TaskReport("home", exploration=0.05),)))
    clock.now += 600
    said = TaskReport("home", answered=answered, covered=answered, exploration=0.05)
    fleet.answer(DeviceReport(device, tasks=(said,), **fields))
    clock.now += 600


@pytest.mark.parametrize(("came", "watch"), [(198, "quiet"), (60, "blind")])
def test_a_device_that_claims_ten_million_answers_neither_blinds_a_fleet_nor_hides_that_it_is(world, came, watch):
    quiet_home(world)
    check, clock = a_check(world)
    for position in range(3):
        synced(world, clock, f"device-{position}", 4000)
    synced(world, clock, "liar", 10_000_000, outbox_pending=2**63 - 1)
    rows = [replace(row, caller=f"device-{n % 3}") for n, row in enumerate(rows_of(world, 3 * came, clock.now - 300))]
    rows += [
        replace(row, caller="liar", query_id=f"f{n}") for n, row in enumerate(rows_of(world, 2000, clock.now - 300))
    ]
    observe(check, clock, rows)
    assert world.state.watch == watch
    other, later = a_check(world)
    later.now = clock.now
    observe(other, later, [row for row in rows if row.caller != "liar"])
    assert world.state.watch == watch
