import pytest

from cloud_worker.state.overrides import Override, Overrides
from cloud_worker.state.store import Store
from router.core.domain.task import Mode, Task


@pytest.fixture
def store(state_url):
    store = Store(state_url)
    store.declare_tasks([Task("home", reference="big"), Task("car", reference="big")])
    return store


@pytest.fixture
def overrides(store):
    return Overrides(store.engine)


def lay(overrides, did="freeze", task="home", now=5.0, **changes):
    return overrides.lay(did, task, who="ada", why="a trial", now=now, **changes)


def test_a_task_begins_with_a_free_hand(overrides):
    assert overrides.of("home") == Override()
    assert overrides.actions() == []


def test_a_change_is_recorded_with_who_when_what_why_before_and_after(overrides):
    lay(overrides, "pin 4", pinned=4, forced=True)
    (action,) = overrides.actions("home")
    assert (action.at, action.who, action.did, action.why) == (5.0, "ada", "pin 4", "a trial")
    assert action.before == {"mode": "serve", "frozen": False, "pinned": None, "forced": False}
    assert action.after == {"mode": "serve", "frozen": False, "pinned": 4, "forced": True}


def test_the_same_again_changes_nothing_and_is_not_recorded(overrides):
    lay(overrides, frozen=True)
    before, after = lay(overrides, frozen=True, now=6.0)
    assert before == after == Override(frozen=True)
    assert len(overrides.actions()) == 1


def test_a_mode_is_what_devices_are_told_and_says_since_when(overrides, store):
    lay(overrides, "observe", mode=Mode.OBSERVE)
    lay(overrides, "freeze", now=9.0, frozen=True)
    assert store.task_state("home").mode is Mode.OBSERVE
    assert overrides.of("home") == Override(Mode.OBSERVE, frozen=True, mode_since=5.0)


def test_each_task_has_a_hand_of_its_own(overrides):
    lay(overrides, frozen=True)
    assert overrides.of("car") == Override()
    assert overrides.actions("car") == []


def test_a_change_that_can_not_be_recorded_is_not_made(overrides, store):
    with pytest.raises(Exception, match=r"(?i)not.null"):
        overrides.lay("observe", "home", who=None, why="", now=1.0, mode=Mode.OBSERVE)
    assert store.task_state("home").mode is Mode.SERVE
    assert overrides.of("home") == Override()


def test_a_new_version_begins_with_a_free_hand_and_the_record_stays(overrides, store):
    lay(overrides, frozen=True, pinned=2, mode=Mode.ESCALATE_ALL)
    store.declare_tasks([Task("home", reference="big", version=2)])
    assert overrides.of("home") == Override()
    assert len(overrides.actions("home")) == 1


def test_a_task_that_nobody_knows_has_no_hand(overrides):
    with pytest.raises(KeyError):
        overrides.of("garden")


@pytest.mark.parametrize(
    ("override", "words"),
    [(Override(), ""), (Override(frozen=True), "frozen"), (Override(pinned=3), "release 3 is pinned")],
)
def test_a_hand_says_why_it_holds_a_refresh(override, words):
    assert override.holds == words
