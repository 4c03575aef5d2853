"""What the smaller stores of the fleet's state keep, on every database that may hold it.

The larger ones have files of their own, whose tests run on the same databases.
"""

import concurrent.futures
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from cloud_worker.fleet.device_labels import DeviceLabels
from cloud_worker.fleet.ordered_rates import OrderedRates
from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.fleet.rollouts.store import Member, Rollouts
from cloud_worker.fleet.turned_away import TurnedAway, What
from cloud_worker.identity.register import enrol
from cloud_worker.pool.attempts import PoolAttempts
from cloud_worker.pool.policies import PolicyState, PoolFigures, Proved, StoredPolicy
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.pool.word_features import FEATURES, WordHead
from cloud_worker.releases.publisher import Publisher
from cloud_worker.releases.recovered_state import open_at_start
from cloud_worker.state.attempts import Left, come_back, leave, was_left
from cloud_worker.state.blind_spans import BlindSpans
from cloud_worker.state.feedback import Feedbacks, Given
from cloud_worker.state.gold_labels import Gold, Label
from cloud_worker.state.overrides import Overrides
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.state.tallies import Tallies
from cloud_worker.state.task_figures import Board, Drifted, Figures, Observed, Waiting, Watched
from cloud_worker.state.traffic import Traffic
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.certification.class_gate import ClassFigures
from router.core.certification.device_quarantine import Apart
from router.core.domain.feedback import Opinion
from router.core.domain.query import Tier
from router.core.domain.record import Source
from router.core.domain.task import Mode, Task, Way
from router.core.errors import OperatorError, UnavailableError
from router.core.monitoring.drift import Comparison
from router.core.policy import pool_routing
from router.core.policy.exploration import Ordered
from router.core.policy.pool_routing import PoolPolicy
from router.core.release.reports import DeviceReport, TaskReport
from router.core.release.rollout import RolloutState
from router.core.statistics.dependence import Dependence
from router.core.statistics.threshold_planning import Point
from router.identity.names import Identity, Role

HOME = Task("home", reference="big")


@pytest.fixture
def store(state_url):
    store = Store(state_url)
    store.declare_tasks([HOME])
    return store


def test_a_release_comes_back_with_all_that_was_noted_of_it(store):
    points = (Point(0.95, 0.25, 0.005), Point(0.5, 0.75, 0.0125))
    whole = ReleaseRow(
        *("home", 3, "waiting", "ab" * 32, 1.5, "why", "música", 0.2, 1500.5, points),
        *(4, 17, 1.7e9, (Dependence(6.5, 32.0, 1),)),
        *(0.5, (ClassFigures("lights", 8, 6, 1),), 1, "it fell", True, True),
    )
    store.add_release(ReleaseRow("home", 1, "building", "", 1.0))
    store.add_release(whole)
    assert store.releases("home") == [ReleaseRow("home", 1, "building", "", 1.0), whole]
    store.update_release("home", 1, points=np.array([]).tolist(), classes=(), local_share=np.float64(0.25))
    assert store.releases("home")[0].local_share == 0.25
    store.reject_unfinished("home", "was not finished")
    assert [(row.state, row.reason) for row in store.releases("home")] == [
        ("rejected", "was not finished"),
        ("waiting", "why"),
    ]


def test_a_state_that_is_none_is_never_written(store):
    with pytest.raises(Exception, match="waitin"):
        store.update_release("home", 1, state="waitin")
    with pytest.raises(Exception, match="fit"):
        store.update_task("home", phase="fit")


def test_what_a_version_used_up_is_found_when_it_comes_back(store):
    with store.engine.begin() as connection:
        assert not was_left(connection, "home", 1)
        leave(connection, "home", 1, Left(2, Mode.OBSERVE))
        leave(connection, "home", 1, Left(3, Mode.ESCALATE_ALL))
        assert come_back(connection, "home", 1) == Left(3, Mode.ESCALATE_ALL)
        assert come_back(connection, "home", 2) == Left()


def test_losses_are_settled_once_and_their_rows_spent(store):
    store.note_loss("home", 5.0)
    assert (store.losses(), store.losses_to_settle()) == ({"home": 5.0}, {"home"})
    store.spend("home", 1, [("kitchen", "q1", "v1")])
    store.settle_loss("home", [("kitchen", "q1", "v1"), ("hall", "q2", "v1")], 6.0)
    assert store.losses_to_settle() == set()
    assert store.spent("home") == {("kitchen", "q1", "v1"), ("hall", "q2", "v1")}


def test_the_board_shows_the_latest_figures_of_a_version(store):
    board, figures = Board(store.engine), Figures(1.0, 10, 20, 3, 4.5, True)
    told = replace(
        figures,
        watched=Watched(2, 30, 1, 0.25),
        waiting=Waiting(3, 20, 0, 400.5, 0.1, 1500, 12.5),
        observed=Observed(2, 1.0, 9, 8, 1, 0.5, 2.5, 70),
        drifted=Drifted(2, 5, (Comparison("words", 0.5, 0.01, 100, 200, False),)),
    )
    assert board.read("home", 1) is None
    board.post("home", 1, figures)
    board.post("home", 1, told)
    assert board.read("home", 1) == told
    assert board.read("home", 2) is None


def test_a_blind_span_begins_and_ends_once(store):
    blind = BlindSpans(store.engine)
    blind.end("home", 1.0)
    blind.begin("home", 2.0)
    blind.begin("home", 3.0)
    assert blind.of("home") == ((2.0, math.inf),)
    blind.end("home", 4.0)
    blind.begin("home", 5.0)
    assert blind.of("home") == ((2.0, 4.0), (5.0, math.inf))


def test_repeated_rows_are_noted_once(store, record):
    repeats = Repeats(store.engine)
    rows = [
        replace(record(1, source=Source.TAUGHT, kept=True, exploration=0.5, local_answer="on"), sequence_number=number)
        for number in (1, 2**40)
    ]
    repeats.note(rows)
    repeats.note(rows)
    assert repeats.of("home") == {("kitchen", 1), ("kitchen", 2**40)}


def test_gold_labels_are_handed_out_in_one_order_and_kept_by_person(store, record):
    gold = Gold(store.engine, double_share=1.0)
    rows = [record(position, exploration=0.5, release=2) for position in range(20)]
    taken = gold.take("home", "ada", rows, 3, 10.0)
    assert [one.key for one in gold.take("home", "ada", rows, 3, 11.0)] == [one.key for one in taken]
    assert gold.label("home", [Label(one.key, "ada", "lights", at=12.0) for one in taken]) == 3
    assert gold.label("home", [Label(taken[0].key, "ada", "lights", at=13.0)]) == 0
    assert {one.key for one in gold.take("home", "bob", rows, 3, 14.0)} == {one.key for one in taken}
    gold.unlabel("home", taken[0].key, "ada")
    assert {one.key for one in gold.labels("home")} == {one.key for one in taken[1:]}
    assert [one.release for one in gold.drawn("home")] == [2, 2, 2]


def test_feedback_is_kept_reviewed_and_erased(store):
    feedbacks = Feedbacks(store.engine)
    given = Given("home", "kitchen", "q1", "v1", Opinion.WRONG, "music", "", Tier.DEVICE, 2, "lights", False, "p1", 1.0)
    feedbacks.keep(given)
    feedbacks.keep(replace(given, correction="radio"))
    (kept,) = feedbacks.of("home")
    assert (kept.correction, kept.opinion, kept.tier) == ("radio", Opinion.WRONG, Tier.DEVICE)
    feedbacks.review(kept, "accepted", "radio", "ada", 2.0)
    assert feedbacks.lessons("home") == {("kitchen", "q1", "v1"): "radio"}
    assert feedbacks.forget(subject="p1") == 1
    assert feedbacks.of("home") == []


def test_of_the_policies_of_a_pool_one_serves(store, tmp_path):
    policies = PoolPolicies(store.engine, PoolAttempts(tmp_path))
    tier = pool_routing.Tier("small", "s1", 0.1, -3.0, 1.5, 0.0, (0.0, 0.0), (0.1, 0.0))
    words = (WordHead(np.linspace(-1, 1, FEATURES, dtype=np.float32), 0.5),)
    policy = PoolPolicy(Way.CASCADE, 0.2, (tier,))
    for number in (1, 2):
        assert policies.next_number(HOME) == number
        stored = StoredPolicy("home", 1, number, "v1", PolicyState.WAITING, policy, words, 0.5, 100, 300, 9, -1, 1.0)
        policies.add(replace(stored, proved=Proved(0.01, 0.02, "big", "exact")))
        with pytest.raises(IntegrityError):
            policies.add(stored)
        policies.tell(stored, PoolFigures(50, 1, 0.5, 0.4))
        policies.change(policies.of(HOME)[-1], PolicyState.SERVING, "certified", served_after=10)
    first, second = policies.of(HOME)
    assert (first.state, second.state, policies.serving(HOME).number) == (PolicyState.RETIRED, PolicyState.SERVING, 2)
    assert (second.figures, second.proved.reference, second.served_after) == (PoolFigures(50, 1, 0.5, 0.4), "big", 10)
    assert np.array_equal(second.words[0].weights, words[0].weights)


def test_ordered_rates_are_kept_in_their_order_and_no_more_than_needed(store):
    rates = OrderedRates(store.engine)
    for at in range(70):
        rates.tell("kitchen", {"home": at / 100}, float(at))
    known = rates.of("kitchen")["home"]
    assert (len(known), known[-1]) == (64, Ordered(69.0, 0.69))
    rates.tell("kitchen", {"home": 0.69}, 100.0)
    assert rates.of("kitchen")["home"] == known
    rates.forget("kitchen")
    assert rates.of("kitchen") == {}
    store.device("hall")
    store.save_report(DeviceReport("hall", tasks=(TaskReport("home", 0, exploration=0.5),)), 1.0)
    for _ in range(2):
        rates.take_over(store.devices)
    assert [one.rate for one in rates.of("hall")["home"]] == [0.5]


def test_who_was_turned_away_is_counted(store):
    away = TurnedAway(store.engine, clock=lambda: 10.0)
    away.add(What.DEVICE, "stranger\0", "full", times=2)
    TurnedAway(store.engine, clock=lambda: 20.0).add(What.DEVICE, "other", "full")
    assert (away.all()["devices"].times, away.all()["devices"].last, away.all()["tasks"].times) == (3, "other", 0)


def test_a_text_with_a_nul_is_kept_on_every_database(store):
    store.update_task("home", phase_note="a\0b")
    assert store.task_state("home").phase_note in {"a\0b", "a\ufffdb"}
    store.spend("home", 1, [("kitchen", "q\0", "v1"), ("kitchen", "p", "v1")])
    assert len(store.spent_by("home", 1)) == 2


def test_counts_without_end_are_kept(store):
    reports = [
        DeviceReport("hall", tasks=(TaskReport("home", 0, answered=count, covered=count, exploration=0.5),))
        for count in (0, 10**15)
    ]
    Traffic(store.engine).add(*reports, 60.0)
    assert Traffic(store.engine).between("home", 0.0, 120.0).answered == 10**15


def test_gateways_that_take_reports_at_once_count_each_once(state_url):
    stores = [Store(state_url) for _ in range(3)]
    for name in ("kitchen", "hall"):
        stores[0].device(name)

    def report(number):
        for count in range(1, 6):
            said = DeviceReport("kitchen", tasks=(TaskReport("home", 0, answered=10 * count + number),))
            stores[number].save_report(said, float(count))

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(report, range(3)))
    kept = stores[0].device("kitchen").report.tasks[0].answered
    assert [one.answered for one in Tallies(stores[0].engine).of_task("home")] == [kept]


def test_operators_who_order_at_once_each_find_their_change_recorded(state_url):
    store = Store(state_url)
    store.declare_tasks([HOME])

    def pin(number):
        Overrides(Store(state_url).engine).lay(f"pin {number}", "home", who="me", why="", now=1.0, pinned=number)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(pin, range(4)))
    actions = Overrides(store.engine).actions("home")
    assert len(actions) == 4
    assert [one.before["pinned"] for one in actions] == [None, *(one.after["pinned"] for one in actions[:-1])]


def test_a_server_that_starts_again_is_used_again(postgres):
    with postgres.database() as url:
        store = Store(url)
        store.declare_tasks([HOME])
        postgres.stop()
        try:
            with pytest.raises(UnavailableError, match="can't be used now"):
                store.task_state("home")
        finally:
            postgres.start()
        assert store.task_state("home").mode is Mode.SERVE


def test_an_empty_database_of_a_server_is_taken_for_a_lost_one_where_releases_lie(postgres, tmp_path):
    from cloud_worker.config.cloud import CloudConfig

    with postgres.database() as url:
        (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "lights"}\n')
        teacher = {"name": "big", "kind": "recorded", "answers": str(tmp_path / "answers.jsonl")}
        tasks = [{"name": "home", "reference": "big"}]
        config = CloudConfig(data=tmp_path, store={"url": url}, teachers=[teacher], tasks=tasks)
        assert open_at_start(config).task_states() == []
        manifest, files = tiny_release(HOME, 4, WORDS)
        Publisher(config.releases_folder).publish(manifest, files)
        store = open_at_start(config)
        assert [(row.number, row.state) for row in store.releases("home")] == [(4, "rejected")]
        assert store.next_release("home") == 5
        assert [row.number for row in open_at_start(config).releases("home")] == [4]


def test_a_url_of_another_database_and_a_missing_driver_are_told(monkeypatch):
    with pytest.raises(OperatorError, match="use sqlite or postgresql"):
        Store("mysql://me@localhost/fleet")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(OperatorError, match=r"headrace\[postgres\]"):
        Store("postgresql://me@localhost/fleet")


def test_a_device_is_set_apart_once_and_taken_back(store):
    quarantines = Quarantines(store.engine)
    assert quarantines.of("home") == {}
    assert quarantines.begin("home", "kitchen", 10.0, "it loses alone")
    assert not quarantines.begin("home", "kitchen", 20.0, "again")
    assert quarantines.of("home") == {"kitchen": Apart(10.0, math.inf)}
    assert quarantines.tasks_of("kitchen") == {"home"}
    assert [(one.device, one.since, one.why) for one in quarantines.lasting()] == [("kitchen", 10.0, "it loses alone")]
    assert quarantines.end("home", "kitchen", 30.0)
    assert not quarantines.end("home", "kitchen", 40.0)
    assert quarantines.of("home") == {"kitchen": Apart(10.0, 30.0)}
    assert (quarantines.tasks_of("kitchen"), quarantines.lasting()) == (frozenset(), [])
    assert quarantines.begin("home", "kitchen", 50.0, "it loses alone")
    assert quarantines.of("home") == {"kitchen": Apart(50.0, math.inf)}


def test_a_rollout_is_changed_only_where_it_stands_as_it_was_read(store):
    rollouts = Rollouts(store.engine)
    steps = {"content": 3, "number": 3, "base": 2, "base_sha256": "ab", "steps": (0.01, 1.0)}
    rollouts.add("home", RolloutState.RUNNING, now=10.0, labels={"site": "berlin"}, **steps)
    assert rollouts.open_of("home", 2) is None
    [found] = rollouts.open()
    assert found == rollouts.open_of("home", 3)
    assert (found.labels, found.steps, found.share, found.is_last) == ({"site": "berlin"}, (0.01, 1.0), 0.01, False)
    assert rollouts.change(found, state=RolloutState.PAUSED)
    assert not rollouts.change(found, step=1)
    [paused] = rollouts.open()
    assert rollouts.end(paused, RolloutState.DONE, "by hand", 20.0)
    assert (rollouts.open(), rollouts.history("home")[0].ended, rollouts.history("other")) == ([], 20.0, [])


def test_devices_come_into_a_rollout_and_only_the_latest_rollouts_keep_theirs(store):
    rollouts = Rollouts(store.engine)
    steps = {"content": 3, "number": 3, "base": 2, "base_sha256": "ab", "steps": (1.0,)}
    first = rollouts.add("home", RolloutState.DONE, now=10.0, **steps)
    rollouts.let_in(first, [Member("kitchen", 0, 10.0, 4.5, life="a"), Member("attic", 0, 10.0)])
    rollouts.note(first, [Member("kitchen", 0, 10.0, 4.5, took=12.0, life="b", starts=1, started=13.0)])
    assert rollouts.members(first)["kitchen"] == Member("kitchen", 0, 10.0, 4.5, 12.0, "b", 1, 13.0)
    assert rollouts.members(first)["attic"].took is None
    assert rollouts.are_in([first, 99], "kitchen") == {first}
    assert rollouts.are_in([first], "cellar") == frozenset()
    for _ in range(5):
        rollouts.add("home", RolloutState.DONE, now=10.0, **steps)
    assert rollouts.members(first) == {}


def test_what_an_operator_calls_a_device_goes_before_what_its_token_did(store):
    labels = DeviceLabels(store.engine)
    with store.engine.begin() as connection:
        enrol(connection, Identity(Role.DEVICE, "kitchen"), {"site": "berlin", "floor": "2"}, 1.0)
    labels.give("kitchen", {"site": "paris", "floor": ""})
    labels.give("attic", {"site": "berlin"})
    assert labels.all() == {"kitchen": {"site": "paris"}, "attic": {"site": "berlin"}}
    labels.give("kitchen", {"site": "rome"})
    assert labels.of("kitchen") == {"site": "rome"}
    labels.forget("kitchen")
    assert labels.of("kitchen") == {"site": "berlin", "floor": "2"}
