"""The policy of a pool: fitted, proved, watched, withdrawn."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from cloud_worker.pool.attempts import UNREADABLE, PoolAttempts
from cloud_worker.pool.policies import PolicyState
from cloud_worker.pool.policy_store import PoolPolicies
from cloud_worker.pool.serving_policy import Serving
from cloud_worker.refresh.pool.policy_loop import LEAST_ROWS, PoolPolicyLoop
from cloud_worker.reports.promise.pool import describe_pool, pool_lines
from cloud_worker.state.store import Store
from router.core.certification.refresh_schedule import Pace
from router.core.domain.record import Record, Source, Tried
from router.core.domain.task import Cheaper, Judge, Mode, Objective, Privacy, Task, Way, agree
from router.core.statistics.e_process import attempt_alpha

PACE = Pace(600, 1.4, 6000)
TASK = Task(
    "home", reference="big", cheaper=Cheaper(("small",), share=0.5), objective=Objective(0.04, 0.9), student="compact"
)


@dataclass
class World:
    """A log that grows by explored rows on which a cheaper teacher was asked too."""

    store: Store
    record: object
    task: Task = TASK
    rows: list = field(default_factory=list)
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    batch: int = 0
    told: int = 0
    version: str = "v1"
    wrong_when_sure: float = 0.001
    wrong_when_unsure: float = 0.5

    def __post_init__(self):
        self.store.declare_tasks([self.task])
        self.policies = PoolPolicies(self.store.engine)
        self.restart()

    def restart(self):
        judging = lambda asked, answer, reference: agree(self.task.judge, answer, reference)  # noqa: E731
        self.tiering = PoolPolicyLoop(self.task, judging, self.policies, PACE)

    def ask(self, count, rate=1.0, held=False):
        """So many explored rows, in batches, each looked at."""
        for start in range(0, count, 50):
            self.batch += 1
            for position in range(start, min(start + 50, count)):
                self.rows.append((self.batch, self._row(self.batch * 100 + position % 50, rate)))
            self.tiering.take(self.rows[self.told :])
            self.told = len(self.rows)
            self.tiering.observe(rate, held)
        return self.policies.serving(self.task)

    def _row(self, position, rate):
        sure = self.draw.random() < 0.8
        wrong = self.draw.random() < (self.wrong_when_sure if sure else self.wrong_when_unsure)
        confidence = float(np.log(self.draw.uniform(0.95, 0.999) if sure else self.draw.uniform(0.3, 0.7)))
        text = f"{'plain' if sure else 'odd'} lamp {self.draw.integers(50)}"
        said = Tried("small", "s1", "off" if wrong else "on", confidence, milliseconds=1.0)
        made = self.record(position, text, "on", caller=f"device-{self.draw.integers(30)}", tried=(said,))
        return replace(made, teacher_version=self.version, milliseconds=10.0, exploration=rate)

    @property
    def states(self):
        return [stored.state for stored in self.policies.of(self.task)]


@pytest.fixture
def world(tmp_path, record):
    return World(Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), record)


@pytest.mark.parametrize("way", Way)
def test_a_cheaper_teacher_that_knows_when_it_is_right_comes_to_serve(tmp_path, record, way):
    task = replace(TASK, cheaper=replace(TASK.cheaper, way=way))
    world = World(Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), record, task)
    serving = world.ask(LEAST_ROWS)
    assert serving is None
    serving = world.ask(3000)
    assert serving.policy.way is way
    assert serving.figures.stood > 0.6
    assert serving.figures.saved > 0.4
    assert serving.figures.losses <= 0.02 * serving.figures.rows


def test_no_row_certifies_what_it_fitted(world):
    for _ in range(3000 // 50):
        if world.ask(50) is not None:
            break
    first = world.policies.of(TASK)[0]
    assert first.freeze == 6  # fitted on the first six batches
    assert first.served_after > first.freeze + (200 // 50)
    assert 0 < first.figures.rows <= 50 * (first.served_after - first.freeze)


def test_a_teacher_that_is_wrong_when_it_is_sure_never_serves(tmp_path, record):
    world = World(Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), record, wrong_when_sure=0.05)
    assert world.ask(4000) is None
    assert PolicyState.SERVING not in world.states
    assert PolicyState.RETIRED not in world.states


def test_a_policy_that_breaks_its_promise_is_withdrawn(world):
    number = world.ask(3000).number
    world.wrong_when_sure = 0.15
    for _ in range(40):
        serving = world.ask(50)
        if serving is None or serving.number != number:
            break
    broken = next(stored for stored in world.policies.of(TASK) if stored.number == number)
    assert broken.state is PolicyState.WITHDRAWN
    assert "broke its promise" in broken.note


def test_another_version_of_the_reference_withdraws_what_agreed_with_the_old_one(world):
    number = world.ask(3000).number
    world.version = "v2"
    world.ask(50)
    known = {stored.number: stored for stored in world.policies.of(TASK)}
    assert (known[number].state, known[number].note) == (PolicyState.WITHDRAWN, "the reference has another version")


def test_after_a_restart_the_same_rows_say_the_same(world):
    world.ask(700)
    before = world.policies.of(TASK)
    world.restart()
    world.tiering.take(world.rows)
    world.tiering.observe(1.0, held=False)
    after = world.policies.of(TASK)
    assert [(one.number, one.state, one.figures) for one in after] == [
        (one.number, one.state, one.figures) for one in before
    ]


def test_while_it_is_held_nothing_is_fitted_and_nothing_begins_to_serve(world):
    world.ask(3000, held=True)
    assert world.states == []
    world.ask(50)
    assert world.states == [PolicyState.WAITING]
    world.ask(3000, held=True)
    assert world.states == [PolicyState.WAITING]


def test_rows_of_a_lower_rate_end_a_wait_for_a_higher_one(world):
    world.ask(350)
    assert world.states == [PolicyState.WAITING]
    world.ask(50, rate=0.05)
    assert world.states == [PolicyState.REJECTED]
    assert "exploration rate" in world.policies.of(TASK)[0].note


def test_a_task_of_the_reference_alone_has_no_policy(tmp_path, record):
    task = replace(TASK, cheaper=Cheaper())
    world = World(Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}"), record, task)
    world.ask(1000)
    assert world.states == []


def test_a_gateway_hears_of_what_serves_after_a_while_and_of_the_operators_hand(world):
    now = [0.0]
    serving = Serving(world.store, lambda: now[0])
    assert serving.of(TASK) is None
    world.ask(3000)
    assert serving.of(TASK) is None
    now[0] += 3.0
    assert serving.of(TASK).number == world.policies.serving(TASK).number
    world.store.update_task("home", mode=Mode.OBSERVE.value)
    now[0] += 3.0
    assert serving.of(TASK) is None


def test_a_stored_policy_comes_back_as_it_was_kept(world):
    world.ask(350)
    (stored,) = world.policies.of(TASK)
    again = replace(stored, number=9)
    world.policies.add(again)
    kept = world.policies.of(TASK)[1]
    assert kept.policy == stored.policy
    assert kept.words[0].bias == stored.words[0].bias
    assert (kept.words[0].weights == stored.words[0].weights).all()
    assert kept.words[0].odds(["plain lamp 3"])[0] > kept.words[0].odds(["odd lamp 3"])[0]


def test_status_tells_what_serves_what_waits_and_why_nothing_does(world):
    def told():
        pool = describe_pool(TASK, world.policies.of(TASK))
        (line,) = pool_lines(pool)
        return pool, line

    assert "no policy of small is proved" in told()[1]
    world.ask(400)
    pool, line = told()
    assert (pool.serving, pool.waiting.number, pool.waiting.rows) == (None, 1, 100)
    assert "policy 1 waits for its certificate: 100 of at most" in line
    world.ask(50, rate=0.05)
    assert "policy 1 rejected, the exploration rate has fallen" in told()[1]
    assert world.ask(3000) is not None
    pool, line = told()
    assert pool.serving.saved > 0.4
    assert "small answer " in line
    assert "2 % allowed" in line
    assert describe_pool(replace(TASK, cheaper=Cheaper()), ()) is None
    assert list(pool_lines(None)) == []


STRICTER = {
    "a stricter promise": {"objective": Objective(0.02, 0.9)},
    "a higher assurance": {"objective": Objective(0.04, 0.99)},
    "a smaller part": {"cheaper": Cheaper(("small",), share=0.3)},
    "another teacher": {"cheaper": Cheaper(("tiny",), share=0.5)},
    "another judge": {"judge": Judge.NORMALISED_TEXT},
    "another reference": {"reference": "bigger"},
    "texts that are redacted otherwise": {"privacy": Privacy(("mail",))},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A store in which a policy serves."""

    def record(position, text, answer, **fields):
        return Record(
            query_id=f"q{position}", teacher="big", teacher_version="v1", is_reference=True, task="home",
            task_version=1, asked_at=float(position), received_at=float(position), text=text,
            answer=answer, source=Source.ESCALATED, covered=True, explored=True, propensity=1.0, **fields,
        )  # fmt: skip

    world = World(Store(f"sqlite:///{tmp_path_factory.mktemp('served') / 'fleet.sqlite'}"), record)
    assert world.ask(3300) is not None
    return world


@pytest.mark.parametrize("changes", STRICTER.values(), ids=STRICTER)
def test_a_policy_serves_nothing_once_its_certificate_does_not_speak_for_the_task(served, changes):
    stricter = replace(TASK, **changes)
    assert Serving(served.store).of(stricter) is None  # from the first look of a gateway on
    said = describe_pool(stricter, served.policies.of(stricter))
    assert said.serving is None
    assert "no policy of" in next(pool_lines(said)) or said.waiting
    assert Serving(served.store).of(TASK) is not None  # and where the wish is taken back it serves again


def test_a_looser_promise_keeps_a_policy(served):
    looser = replace(TASK, objective=Objective(0.08, 0.8))
    assert Serving(served.store).of(looser) is not None
    assert describe_pool(looser, served.policies.of(looser)).serving is not None


def test_a_policy_that_did_not_note_what_it_was_certified_for_proves_nothing(served):
    old = replace(served.policies.serving(TASK), proved=None)
    assert "not known" in old.why_fallen(TASK)


def numbers(policies):
    return [stored.number for stored in policies.of(TASK)]


def with_attempts(folder, record):
    """A world whose pool's attempts stand beside its releases."""
    world = World(Store(f"sqlite:///{folder / 'fleet.sqlite'}"), record)
    world.policies = PoolPolicies(world.store.engine, PoolAttempts(folder / "releases"))
    world.restart()
    return world


def lose(folder):
    for path in folder.glob("fleet.sqlite*"):
        path.unlink()


def test_attempts_go_on_where_the_database_was_lost(tmp_path, record):
    world = with_attempts(tmp_path, record)
    world.ask(3000)
    last = max(numbers(world.policies))
    world.store.engine.dispose()
    lose(tmp_path)
    again = with_attempts(tmp_path, record)
    serving = again.ask(3000)
    assert min(numbers(again.policies)) == last + 1
    assert serving.proved.alpha == attempt_alpha(TASK.at_pool.assurance, serving.number)


def test_attempts_of_a_store_that_is_older_than_their_file_go_on_too(tmp_path, world, record):
    world.ask(3000)
    last = max(numbers(world.policies))
    with_attempts(tmp_path, record)
    lose(tmp_path)
    assert with_attempts(tmp_path, record).policies.next_number(TASK) == last + 1


@pytest.mark.parametrize("said", ["", "{", "[]", "null", '{"attempts": -1}', '{"attempts": "3"}', "[" * 10000])
def test_attempts_that_cannot_be_read_count_as_a_hundred(tmp_path, record, said):
    (tmp_path / "releases" / "home").mkdir(parents=True)
    (tmp_path / "releases" / "home" / "pool-attempts.json").write_text(said)
    policies = with_attempts(tmp_path, record).policies
    assert policies.next_number(TASK) == UNREADABLE + 1
    PoolAttempts(tmp_path / "releases").spend("home", UNREADABLE + 1)
    assert policies.next_number(TASK) == UNREADABLE + 2
