"""A device that loses alone escalates everything, in a refresher that runs: store, orders, restart, way back."""

import pytest
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import Fleet
from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.refresh.monitoring.blindness import BlindnessCheck
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.traffic import Traffic
from router.core.domain.task import Mode
from router.core.release.reports import DeviceReport, TaskReport


def orders_of(world, device):
    return FleetServicer(world.store, Fleet(), insecure=True).answer(DeviceReport(device))


def apart(world):
    return [one.device for one in Quarantines(world.store.engine).lasting()]


@pytest.fixture
def spoilt(world):
    """The release serves, and device-1 has been set apart."""
    world.until_certified()
    world.own_truth = {"device-1": "something of its own"}
    for _ in range(40):
        world.ask_and_step(200)
        if apart(world):
            return world
    raise AssertionError("device-1 was not set apart")


def test_it_alone_is_ordered_to_escalate_everything_and_hears_why(spoilt):
    assert apart(spoilt) == ["device-1"]
    assert spoilt.state.watch == "quiet"
    said = orders_of(spoilt, "device-1")
    assert [order.mode for order in said.tasks] == [Mode.ESCALATE_ALL]
    assert said.message.startswith("this device is in quarantine and escalates everything of home")
    assert [order.mode for order in orders_of(spoilt, "device-0").tasks] == [Mode.SERVE]


def test_a_restart_forgets_nothing_and_the_release_serves_on(spoilt):
    for _ in range(3):
        spoilt.ask_and_step(200)
    before = spoilt.refresher.contexts["home"].loop.live_watch.watch.freeze()
    spoilt.start()
    spoilt.refresher.step()
    assert spoilt.refresher.contexts["home"].loop.live_watch.watch.freeze() == before
    assert (apart(spoilt), spoilt.state.watch) == (["device-1"], "quiet")


def test_what_it_asks_does_not_teach_the_others(spoilt):
    fits = len(spoilt.fitted_rows)
    for _ in range(40):
        spoilt.ask_and_step(200)
        if len(spoilt.fitted_rows) > fits:
            break
    assert {row.caller for row in spoilt.fitted_rows[-1]} == {"device-0"}


def test_a_device_because_of_which_a_challenger_gets_no_certificate_is_set_apart_and_the_others_get_theirs(world):
    for _ in range(30):
        world.ask_and_step(100)
        if world.state.phase == "waiting":
            break
    world.own_truth = {"device-1": "something of its own"}
    for _ in range(60):
        world.ask_and_step(100)
        if apart(world):
            break
    assert apart(world) == ["device-1"]
    assert world.state.champion == 0
    world.until_certified()
    assert [order.mode for order in orders_of(world, "device-1").tasks] == [Mode.ESCALATE_ALL]
    assert [order.mode for order in orders_of(world, "device-0").tasks] == [Mode.SERVE]


def test_it_comes_back_by_itself_and_the_proof_has_spent_an_attempt(spoilt):
    attempt = spoilt.state.attempt
    spoilt.own_truth = {}
    for _ in range(40):
        spoilt.ask_and_step(200)
        if not apart(spoilt):
            break
    assert apart(spoilt) == []
    assert spoilt.state.attempt > attempt
    assert [order.mode for order in orders_of(spoilt, "device-1").tasks] == [Mode.SERVE]


def test_of_it_nothing_is_planned(spoilt):
    now = 2_000_000.0
    said = DeviceReport("device-1", tasks=(TaskReport("home", answered=4000, covered=4000, exploration=0.05),))
    Traffic(spoilt.store.engine).add(DeviceReport("device-1"), said, now - 600)
    BlindnessCheck(spoilt.config.task("home"), spoilt.store).observe(now)
    assert spoilt.state.watch == "quiet"


def config_of(world):
    path = world.folder / "cloud.toml"
    path.write_text(
        'data = "."\n[[teachers]]\nname = "big"\nkind = "recorded"\nanswers = "answers.jsonl"\n'
        '[[tasks]]\nname = "home"\nreference = "big"\n'
    )
    return str(path)


def run(*words):
    return CliRunner().invoke(app, ["devices", *words])


def test_the_operator_sets_a_device_apart_and_takes_it_back(world):
    world.until_certified()
    path = config_of(world)
    assert run("set-apart", "kitchen", "-c", path).exit_code != 0  # there is no such device
    orders_of(world, "device-0")
    done = run("set-apart", "device-0", "-c", path, "--why", "stolen")
    assert (done.exit_code, done.stdout) == (0, "device-0: in quarantine of home: it escalates everything\n")
    assert "(as before)" in run("set-apart", "device-0", "-c", path).stdout
    world.ask_and_step(100)
    loop = world.refresher.contexts["home"].loop
    assert loop.quarantines["device-0"].lasts
    assert "device-0" not in {caller for caller, *_ in loop.rows.spend_held()}
    listed = run("list", "-c", path).stdout
    assert "quarantine" in listed and "stolen" in listed
    done = run("take-back", "device-0", "-c", path, "--json")
    assert '"apart": []' in done.stdout
    world.ask_and_step(200)
    assert not loop.quarantines["device-0"].lasts
    said = [(action.did, action.why) for action in Overrides(world.store.engine).actions()]
    assert said == [("set-apart device-0", "stolen"), ("take-back device-0", "")]
