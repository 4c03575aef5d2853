"""Two agents under one name are told from one that was started again, and prove nothing meanwhile."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from cloud_worker.config.sections import Fleet
from cloud_worker.fleet.registry import Registry
from cloud_worker.fleet.service import FleetServicer
from cloud_worker.fleet.twins import ADVICE, MOST_INCARNATIONS, Incarnations
from cloud_worker.state.traffic import Traffic
from router.core.certification.missing_rows import SEQUENCE_LENGTH, DeviceSequences, set_apart
from router.core.domain.record import Record, Source, had_to_be_asked, may_certify, may_teach
from router.core.release.reports import DeviceReport, TaskReport

A, B, OLD = "a" * 32, "b" * 32, ""


@pytest.fixture
def fleet(store):
    return SimpleNamespace(store=store, now=10_000.0, lives=Incarnations(store.engine))


def say(fleet, life, answered=0, after=10.0, came=None, servicer=None):
    """Report as one life, ``after`` seconds later; what is heard."""
    fleet.now += after
    servicer = servicer or FleetServicer(fleet.store, Fleet(), insecure=True, clock=lambda: fleet.now)
    task = TaskReport("home", answered=answered, covered=answered, exploration=0.5)
    return servicer.answer(DeviceReport("kitchen", tasks=(task,), life=life), came).message


def state(fleet):
    [device] = fleet.store.devices()
    return device.report.state


@pytest.mark.parametrize(
    ("lives", "twins"),
    [
        ([A, A, A], False),
        ([A, B, B, B], False),  # started again
        ([A, B, "c", "d"], False),  # again and again
        ([A, B, A], True),
        ([A, B, "c", B], True),  # of a pair one was started again
        ([A, B, B, B, A], True),
        ([OLD, OLD, OLD], False),
        ([OLD, A, A], False),  # upgraded
        ([A, OLD, OLD], False),  # and back
        ([A, OLD, A], True),
        ([OLD, A, OLD], False),  # an old agent proves nothing,
        ([OLD, A, OLD, A], True),  # the new one does
    ],
)
def test_a_life_that_comes_back_after_another_proves_twins(fleet, lives, twins):
    for life in lives:
        heard = say(fleet, life)
    assert (heard == ADVICE, state(fleet) == "twins") == (twins, twins)


def test_twins_are_logged_once_and_told_to_both_until_one_is_gone(fleet, caplog):
    for life in (A, B, A, B, A, A, B):
        heard = say(fleet, life)
    assert heard == ADVICE
    told = [record for record in caplog.records if record.name == "cloud_worker.fleet.report_intake"]
    assert [record.args[0] for record in told] == ["kitchen"]
    for _ in range(4):
        assert say(fleet, B) == ADVICE
    assert say(fleet, B, after=60.0) == "" and state(fleet) == "ok"
    assert say(fleet, A) == ADVICE
    assert len(caplog.records) == 2  # told anew


def test_a_report_that_was_under_way_at_a_restart_proves_nothing_and_counts_nothing(fleet):
    say(fleet, A, answered=10)
    sent = fleet.now + 5
    say(fleet, B, answered=1)
    assert say(fleet, A, answered=12, after=1.0, came=sent) == ""
    assert say(fleet, B, answered=2) == "" and state(fleet) == "ok"
    assert Traffic(fleet.store.engine).between("home", 0.0, 1e9).answered == 2


def test_what_twins_count_is_what_each_has_counted(fleet):
    for life, answered in ((A, 100), (B, 5), (A, 110), (B, 15), (A, 120), (B, 20)):
        say(fleet, life, answered)
    assert Traffic(fleet.store.engine).between("home", 0.0, 1e9).answered == 20 + 20


def test_a_copy_of_a_running_agent_is_told_by_counters_that_go_back(fleet):
    """A machine that was copied while it ran, its memory too: both go on under one life."""
    heard = [say(fleet, A, answered) for answered in (100, 110, 101, 112, 102, 115)]
    assert heard == ["", "", ADVICE, ADVICE, ADVICE, ADVICE]
    assert state(fleet) == "twins"
    assert Traffic(fleet.store.engine).between("home", 0.0, 1e9).answered == 15
    assert list(fleet.lives.spans()) == ["kitchen"]


def test_a_machine_that_was_set_back_while_it_ran_is_told_for_a_while_and_then_counts_from_there(fleet):
    for answered in (9_000, 10_000):
        say(fleet, A, answered)
    heard = [say(fleet, A, answered) for answered in range(100, 300, 10)]
    assert heard[0] == ADVICE and heard[-1] == "" and state(fleet) == "ok"
    told = [at for at, advice in enumerate(heard) if advice]
    assert told == list(range(len(told)))  # without a gap
    before = Traffic(fleet.store.engine).between("home", 0.0, 1e9).answered
    say(fleet, A, 320)
    assert Traffic(fleet.store.engine).between("home", 0.0, 1e9).answered == before + 30
    [(_, until)] = fleet.lives.spans()["kitchen"]
    assert until < fleet.now
    for answered in (10_010, 330):  # the other one comes back
        heard = say(fleet, A, answered)
    assert heard == ADVICE


def test_two_reports_of_one_life_that_change_places_prove_nothing(fleet):
    say(fleet, A, answered=100)
    sent = fleet.now + 5
    say(fleet, A, answered=120)
    assert say(fleet, A, answered=110, after=1.0, came=sent) == ""
    assert say(fleet, A, answered=125) == "" and state(fleet) == "ok"
    assert Traffic(fleet.store.engine).between("home", 0.0, 1e9).answered == 25


def test_a_gateway_whose_clock_was_set_back_goes_on_taking_reports(fleet):
    say(fleet, A, answered=100)
    fleet.now -= 3600.0
    say(fleet, A, answered=110)
    [device] = fleet.store.devices()
    assert (device.report.tasks[0].answered, state(fleet)) == (110, "ok")


def test_an_old_agent_that_starts_again_counts_from_nothing_and_is_no_twin(fleet):
    assert [say(fleet, OLD, answered) for answered in (100, 3, 5)] == ["", "", ""]
    assert state(fleet) == "ok"


def test_a_task_that_went_and_came_counts_from_nothing_and_is_no_twin(fleet):
    say(fleet, A, answered=100)
    fleet.now += 10
    servicer = FleetServicer(fleet.store, Fleet(), insecure=True, clock=lambda: fleet.now)
    servicer.answer(DeviceReport("kitchen", life=A), None)
    assert say(fleet, A, answered=2) == "" and state(fleet) == "ok"


def test_a_restarted_gateway_and_one_beside_it_know_of_twins(fleet):
    doors = [FleetServicer(fleet.store, Fleet(), insecure=True, clock=lambda: fleet.now) for _ in range(2)]
    for position, life in enumerate((A, B, A, B)):
        heard = say(fleet, life, servicer=doors[position % 2])
    assert heard == ADVICE


def test_a_new_life_whose_first_report_can_not_be_kept_is_no_second_agent(fleet, monkeypatch):
    def fail(*_):
        raise ValueError("the database takes nothing now")

    say(fleet, A)
    with monkeypatch.context() as broken:
        broken.setattr(Traffic, "count", fail)  # comes last in the transaction of a report
        for _ in range(2):
            with pytest.raises(ValueError, match="takes nothing"):
                say(fleet, B)
    assert say(fleet, B) == "" and state(fleet) == "ok"
    assert fleet.lives.spans() == {}


def test_a_device_that_is_removed_begins_without_lives_and_its_rows_stay_apart(fleet):
    for life in (A, B, A):
        say(fleet, life)
    spans = fleet.lives.spans()
    Registry(fleet.store, 10).remove("kitchen")
    assert say(fleet, A) == ""
    assert say(fleet, A) == "" and fleet.lives.spans() == spans


def test_an_agent_that_starts_again_for_ever_leaves_few_lives(fleet):
    for number in range(3 * MOST_INCARNATIONS):
        say(fleet, f"{number:032}")
    with fleet.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM device_lives").scalar() <= MOST_INCARNATIONS + 1


def test_the_time_of_twins_goes_back_to_the_last_report_of_one_alone(fleet):
    say(fleet, A)
    alone = fleet.now
    for life in (B, A, B):
        say(fleet, life)
    [(began, until)] = fleet.lives.spans()["kitchen"]
    assert began == alone - 60 and until >= fleet.now + 60


def row(asked_at, received_at=None, caller="kitchen", **fields):
    drawn = {"explored": True, "local_answer": "lights", "exploration": 0.5, "propensity": 0.5, "kept": True}
    received = asked_at if received_at is None else received_at
    return Record(caller, f"q{asked_at}", "big", "1", "home", 1, asked_at, received, "text", "lights", **drawn | fields)


@pytest.mark.parametrize(
    ("asked_at", "received_at", "counts"),
    [(99, 99, True), (99, 150, False), (150, 150, False), (150, 300, False), (200, 200, True)],
)
def test_a_row_of_twins_neither_certifies_nor_alarms_and_still_teaches(asked_at, received_at, counts):
    twins = {"kitchen": ((100.0, 200.0),)}
    drawn = set_apart(row(asked_at, received_at), twins)
    asked = set_apart(row(asked_at, received_at, explored=False, kept=False, propensity=1.0), twins)
    assert (may_certify(drawn), had_to_be_asked(asked)) == (counts, counts)
    assert counts or may_teach(drawn)
    other = row(asked_at, received_at, caller="hall")
    assert set_apart(other, twins) is other


def test_numbers_that_twins_leave_open_are_no_lost_rows():
    numbered = [
        (7, row(float(at), sequence_number=SEQUENCE_LENGTH + position, source=Source.TAUGHT))
        for at, position in ((50, 1), (150, 40), (151, 3), (201, 41))
    ]
    later = (8, replace(row(9000.0), caller="hall"))
    assert DeviceSequences.of([*numbered, later]).sequences(0)["kitchen", 1].missing > 0
    twins = {"kitchen": ((100.0, 200.0),)}
    assert DeviceSequences.of([*numbered, later]).sequences(0, twins=twins)["kitchen", 1].missing == 0
