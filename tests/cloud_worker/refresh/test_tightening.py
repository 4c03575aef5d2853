"""What a refresher does when the operator's wish grows stricter, and when it is taken back."""

from dataclasses import replace

from cloud_worker.fleet.ordering import OrderBook
from cloud_worker.releases.first_release import publish_first_releases, publish_objectives
from cloud_worker.reports.promise.gather import Promises
from cloud_worker.state.store import ReleaseRow
from router.core.domain.task import Mode, Objective, Privacy
from router.core.privacy.read_version import read_version
from router.core.statistics.e_process import Certificate, attempt_alpha


def up(world, **changes):
    """As after ``down`` and ``up`` with another ``cloud.toml``."""
    task = replace(world.config.task("home"), **changes)
    world.config = world.config.model_copy(update={"tasks": (task,)})
    world.store.declare_tasks([task])
    publish_first_releases([task], world.store, world.publisher)
    publish_objectives([task], world.store, world.publisher)
    world.start()


def mode(world):
    ([order], _) = OrderBook(world.store, world.config.tasks, world.publisher).orders("device-0")
    return order.mode


def told(world):
    return Promises(world.config.tasks, world.store, world.publisher).gather()["home"].as_json()


def test_a_stricter_promise_escalates_everything_until_a_student_is_certified_for_it(world):
    world.until_certified()
    first = world.state.champion
    up(world, objective=Objective(0.005))
    assert mode(world) is Mode.ESCALATE_ALL  # before the refresher has looked
    world.refresher.step()
    assert (world.state.champion, world.state.watch, world.state.exploration) == (first, "alarmed", 1.0)
    assert told(world)["state"] == "unproven"
    assert not world.store.releases("home")[first].alarmed
    for _ in range(30):
        world.ask_and_step(300)
        if world.state.champion != first:
            break
    assert world.publisher.manifest("home", world.state.champion).certificate.allowance <= 0.005
    assert (mode(world), told(world)["state"]) == (Mode.SERVE, "proven")


def test_a_stricter_promise_that_is_taken_back_lets_the_same_release_serve_again(world):
    world.until_certified()
    first = world.state.champion
    up(world, objective=Objective(0.001, 0.999))
    world.refresher.step()
    world.ask_and_step(50)
    assert (mode(world), world.state.watch) == (Mode.ESCALATE_ALL, "alarmed")
    up(world, objective=Objective(0.02))
    world.refresher.step()
    assert (world.state.champion, world.state.watch, mode(world)) == (first, "quiet", Mode.SERVE)
    assert told(world)["state"] == "proven"
    assert world.state.exploration < 1.0


def test_a_release_that_breaks_only_the_stricter_promise_is_not_called_broken(world):
    world.until_certified()
    first = world.state.champion
    wrong = world.record  # one in seventy answers differs: within 2 %, not within 0.2 %
    world.record = lambda position, text, answer, **more: wrong(
        position, text, "else" if position % 70 == 0 and more.get("kept") else answer, **more
    )
    for _ in range(10):
        world.ask_and_step(500)
    assert (world.state.champion, world.state.watch) == (first, "quiet")
    up(world, objective=Objective(0.002))
    world.refresher.step()
    assert world.state.watch == "alarmed"
    assert not world.store.releases("home")[first].alarmed
    up(world, objective=Objective(0.02))
    world.refresher.step()
    assert (world.state.champion, world.state.watch) == (first, "quiet")


def test_a_fallback_release_whose_certificate_speaks_for_the_stricter_promise_serves_instead(world):
    world.until_certified()
    first = world.state.champion
    manifest = world.publisher.manifest("home", first)
    strong = Certificate(0.005, attempt_alpha(0.95, 1), 2000, 0, 9.0, attempt=1, teacher_version="v1")
    world.publisher.amend(replace(manifest, certificate=strong), {})
    second = world.store.next_release("home")
    loose = replace(manifest, number=second, content=first, policy=replace(manifest.policy, threshold=0.0))
    digest = world.publisher.republish(loose, first)
    world.store.add_release(ReleaseRow("home", second, "building", "", 1.0))
    world.store.update_release("home", second, local_share=0.9)
    world.store.promote("home", second, digest, watch="quiet")
    up(world, objective=Objective(0.01))
    assert mode(world) is Mode.ESCALATE_ALL
    world.refresher.step()
    now = world.publisher.manifest("home", world.state.champion)
    assert (now.content, now.certificate.allowance, world.state.watch) == (first, 0.005, "quiet")
    assert (mode(world), told(world)["state"]) == (Mode.SERVE, "proven")


def test_texts_that_are_redacted_otherwise_unmake_a_certificate_until_that_is_taken_back(world):
    world.until_certified()
    first = world.state.champion
    up(world, privacy=Privacy(("mail",)))
    assert mode(world) is Mode.ESCALATE_ALL  # before the refresher has looked
    world.refresher.step()
    assert (world.state.watch, told(world)["state"]) == ("alarmed", "unproven")
    assert "redacted" in told(world)["why"]
    assert world.publisher.manifest("home", world.state.champion).task.privacy.redact == ("mail",)
    up(world, privacy=Privacy())
    world.refresher.step()
    assert (mode(world), told(world)["state"], world.state.watch) == (Mode.SERVE, "proven", "quiet")
    assert world.publisher.manifest("home", world.state.champion).content in {None, first}


def test_a_student_is_certified_anew_on_texts_as_they_are_redacted_now(world):
    world.until_certified()
    first, record = world.state.champion, world.record
    up(world, privacy=Privacy(("phone", "mail")))
    world.record = lambda *said, **more: replace(
        record(*said, **more), teacher_version=read_version("v1", ("mail", "phone"))
    )
    for _ in range(30):
        world.ask_and_step(300)
        if mode(world) is Mode.SERVE:
            break
    assert world.publisher.manifest("home", world.state.champion).content in {None, world.state.champion}
    assert world.state.champion > first
    assert (mode(world), told(world)["state"]) == (Mode.SERVE, "proven")
    up(world, privacy=Privacy(("mail", "phone"), ("acme",)))  # the order says nothing, nor do tenants that stay away
    assert (mode(world), told(world)["state"]) == (Mode.SERVE, "proven")
