import concurrent.futures
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.task import Exploration, Mode, Task
from router.core.policy.exploration import SEED_BYTES
from router.core.release.reports import DeviceReport, TaskReport

OPEN_AND_MEET = """
import sys
from cloud_worker.state.store import Store
sys.stdin.readline()
store = Store(sys.argv[1])
print(store.device("kitchen").seed.hex())
"""


@pytest.fixture
def store(state_url):
    return Store(state_url)


def release(number, state="waiting", task="home"):
    return ReleaseRow(task, number, state, f"{number:064x}", created_at=1.0)


def test_a_declared_task_starts_cold_with_release_0(store):
    store.declare_tasks([Task("home", reference="big", exploration=Exploration(cold=0.5))])
    state = store.task_state("home")
    assert (state.champion, state.exploration, state.mode, state.phase) == (0, 0.5, Mode.SERVE, "idle")
    assert state.log_version_seen == -1


def test_declaring_again_changes_nothing(store):
    task = Task("home", reference="big")
    store.declare_tasks([task])
    store.update_task("home", champion=3, attempt=2)
    store.declare_tasks([task])
    assert (store.task_state("home").champion, store.task_state("home").attempt) == (3, 2)


def test_a_new_task_version_starts_a_new_lineage(store):
    store.declare_tasks([Task("home", reference="big")])
    store.update_task("home", champion=3, attempt=2, exploration=0.05, manifest_sha256="ab")
    store.declare_tasks([Task("home", reference="big", version=2)])
    state = store.task_state("home")
    assert (state.version, state.champion, state.attempt, state.exploration) == (2, 0, 0, 1.0)


def test_an_unknown_task_is_a_key_error(store):
    with pytest.raises(KeyError, match="car"):
        store.task_state("car")


def test_tasks_come_by_name(store):
    store.declare_tasks([Task("home", reference="big"), Task("car", reference="big")])
    assert [state.name for state in store.task_states()] == ["car", "home"]


def test_a_change_says_when_it_was_made(store):
    store.declare_tasks([Task("home", reference="big")])
    before = store.task_state("home").updated_at
    store.update_task("home", mode=Mode.OBSERVE, phase="fitting", phase_progress=0.5)
    after = store.task_state("home")
    assert (after.mode, after.phase, after.phase_progress) == (Mode.OBSERVE, "fitting", 0.5)
    assert after.updated_at > before


def test_a_device_keeps_its_seed(store):
    first = store.device("kitchen")
    assert len(first.seed) == SEED_BYTES
    assert store.device("kitchen").seed == first.seed
    assert store.device("car").seed != first.seed


def test_a_report_comes_back_whole(store):
    store.device("kitchen")
    report = DeviceReport("kitchen", formats=("onnx",), tasks=(TaskReport("home", answered=3, refused=((2, "torn"),)),))
    store.save_report(report, now=7.0)
    (device,) = store.devices()
    assert (device.report, device.last_seen) == (report, 7.0)


def test_release_numbers_start_at_0_and_only_grow(store):
    assert store.next_release("home") == 0
    store.add_release(release(0))
    store.add_release(release(5))
    assert store.next_release("home") == 6
    assert store.next_release("car") == 0


def test_a_release_number_can_not_be_taken_twice(store):
    store.add_release(release(1))
    with pytest.raises(IntegrityError):
        store.add_release(release(1))


def test_promoting_retires_the_champion_before(store):
    store.declare_tasks([Task("home", reference="big")])
    for number in range(3):
        store.add_release(release(number))
    store.promote("home", 1, "aa", exploration=0.05)
    store.promote("home", 2, "bb", phase="idle")
    assert [row.state for row in store.releases("home")] == ["waiting", "retired", "champion"]
    state = store.task_state("home")
    assert (state.champion, state.manifest_sha256, state.exploration) == (2, "bb", 0.05)


def test_promoting_leaves_other_tasks_alone(store):
    store.declare_tasks([Task("home", reference="big"), Task("car", reference="big")])
    store.add_release(release(1, task="car"))
    store.add_release(release(1, task="home"))
    store.promote("car", 1, "aa")
    store.promote("home", 1, "bb")
    assert store.releases("car")[0].state == "champion"
    assert store.task_state("car").manifest_sha256 == "aa"


@settings(max_examples=20, deadline=None)
@given(st.sets(st.tuples(st.text("ab", min_size=1), st.text("0123456789", min_size=1), st.just("v1")), max_size=8))
def test_what_is_spent_is_known_as_spent_for_its_task_alone(keys):
    store = Store("sqlite://")
    store.spend("home", 1, keys)
    assert store.spent("home") == keys
    assert store.spent("car") == set()


def test_a_row_can_not_be_spent_twice(store):
    store.spend("home", 1, [("kitchen", "q1", "v1")])
    with pytest.raises(IntegrityError):
        store.spend("home", 2, [("kitchen", "q1", "v1")])


def test_several_processes_open_a_new_store_at_once_and_agree(state_url):
    url = state_url
    command = [sys.executable, "-c", OPEN_AND_MEET, url]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, [end[1][-500:] for end in ends]
    assert len({end[0] for end in ends}) == 1


def test_writers_wait_for_each_other(store):
    store.declare_tasks([Task("home", reference="big")])

    def work(number):
        for position in range(20):
            store.update_task("home", rows_seen=position)
            store.spend("home", number, [(f"device-{number}", str(position), "v1")])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert Counter(caller for caller, _, _ in store.spent("home")) == {f"device-{n}": 20 for n in range(4)}
