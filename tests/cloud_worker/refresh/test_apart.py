"""Rows of a device with twins count for nothing in a refresher that runs, also those that were looked at by then."""

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.refresh.monitoring.blindness import BlindnessCheck
from cloud_worker.state.traffic import Traffic
from router.core.release.reports import DeviceReport, TaskReport


def prove_twins(world, device, first, last):
    """Two lives of a device follow each other from one time to another."""
    times = iter([first, first, last, last])
    for life in ("a", "b", "a", "b"):
        now = next(times)
        FleetServicer(world.store, Fleet(), insecure=True, clock=lambda at=now: at).answer(
            DeviceReport(device, life=life)
        )


def callers_of(trial):
    return {caller for caller, _, _ in trial.observed}


def test_what_a_challenger_saw_of_twins_is_taken_back_and_stays_out_after_a_restart(world):
    for _ in range(30):
        world.ask_and_step(100)
        if world.state.phase == "waiting":
            break
    world.ask_and_step(100)
    trial = world.refresher.contexts["home"].loop.trial
    assert callers_of(trial) == {"device-0", "device-1"}
    before = trial.rows
    prove_twins(world, "device-0", 1.0, 1e9)
    world.ask_and_step(10)
    after = world.refresher.contexts["home"].loop.trial
    assert callers_of(after) == {"device-1"} and after.rows < before
    world.start()
    assert callers_of(world.refresher.contexts["home"].loop.trial) == {"device-1"}


def test_a_watch_forgets_what_twins_lost_and_raises_no_alarm_by_it(world):
    world.until_certified()
    prove_twins(world, "device-0", 1.0, 1e9)
    prove_twins(world, "device-1", 1.0, 1e9)
    world.truth = dict.fromkeys(world.truth, "other")  # every answer that is kept is wrong now
    for _ in range(5):
        world.ask_and_step(1000)
    assert world.state.watch != "alarmed"
    assert world.refresher.contexts["home"].loop.live_watch.watch.freeze().rows == 0


def test_without_twins_the_same_losses_alarm(world):
    world.until_certified()
    world.truth = dict.fromkeys(world.truth, "other")
    for _ in range(5):
        world.ask_and_step(1000)
    assert world.state.watch == "alarmed"


def test_what_twins_planned_is_not_missed(world):
    world.until_certified()
    now = 1_000_000.0
    task = world.config.task("home")
    said = DeviceReport("device-0", tasks=(TaskReport("home", answered=4000, covered=4000, exploration=0.05),))
    Traffic(world.store.engine).add(DeviceReport("device-0"), said, now - 600)

    def observe():
        BlindnessCheck(task, world.store).observe(now)
        return world.state.watch

    prove_twins(world, "device-0", now - 700, now - 500)
    assert observe() == "quiet"
    with world.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM twins")
    assert observe() == "blind"
