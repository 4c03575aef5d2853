"""Laws of deciding that no one module keeps alone.

Rules:
 * Monotone in the threshold: a stricter one keeps no more and loses no more.
 * Invariant under permutation: proposal, certificate and the threshold that a trial certifies.
 * Deterministic: the same log certifies the same way, however often it was looked at and after a restart.
 * Nothing is known of a query before its draw.
 * No limit is exceeded by what is deferred, whatever is under way.
 * A row certifies at most once, and no row certifies what it trained, calibrated or chose.
"""

import inspect
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.orders import KeptOrders
from edge_agent.tasks.quota import Quota
from router.core.certification.certifying_rows import certifying
from router.core.certification.observations import Observation
from router.core.certification.trial import Trial
from router.core.domain.prediction import Prediction
from router.core.domain.query import Message, Query, Reason, Route
from router.core.domain.record import Record, Source
from router.core.domain.task import Mode, Task
from router.core.learning.training_rows import calibrating, teachable
from router.core.policy.budget import DAY_SECONDS, MINUTE_SECONDS, Budget
from router.core.policy.deferral import Action, Policy, decide
from router.core.policy.exploration import draw, is_explored
from router.core.release.manifest import Manifest
from router.core.release.orders import Order
from router.core.statistics.e_process import attempt_alpha
from router.core.statistics.threshold_planning import propose, prospect

TASK = Task("home", "big")
SEED = b"s" * 32


class Sure:
    """A student that is sure of one answer."""

    def predict(self, query):
        return Prediction("lights", 0.9, None)


MIXED = {"lamp": ("lights", 0.9), "song": ("music", 0.8), "noon": ("lights", 0.1)}


class Mixed:
    """A student that is right, wrong, or not sure."""

    def predict(self, query):
        answer, score = MIXED[query.text]
        return Prediction(answer, score, None)


def record(position, device=0, explored=True, kept=True, rate=1.0, text="lamp"):
    """A row beside a release: a query that stayed is there where it was drawn, one that was deferred always."""
    return Record(
        caller=f"device-{device}",
        query_id=f"q-{position}",
        teacher="big",
        teacher_version="1",
        task="home",
        task_version=1,
        asked_at=float(position),
        received_at=float(position),
        text=text,
        answer="lights",
        source=Source.TAUGHT if kept else Source.ESCALATED,
        release=1,
        local_answer="lights",
        local_score=0.9 if kept else 0.1,
        kept=kept,
        explored=explored or kept,
        exploration=rate,
        propensity=rate if kept else 1.0,
    )


RATES = st.sampled_from([1.0, 0.5, 0.2])


def logs(most=60):
    """Rows of a few devices, drawn or not, at rates that change."""
    rows = st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), RATES, st.sampled_from(sorted(MIXED)))
    return st.lists(rows, min_size=1, max_size=most).map(
        lambda made: [record(position, *fields) for position, fields in enumerate(made)]
    )


def trial_of(number, freeze, patience, rate=1.0):
    return Trial(number, 0.02, attempt_alpha(0.95, number), rate, freeze, patience, ())


def judging(asked, answer, reference):
    return answer == reference


TABLES = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=80)
# Long enough, and right often enough, that some threshold is certified and a looser one is not.
GOOD_TABLES = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from([True, True, True, False])), min_size=40, max_size=80
)


def columns(table):
    scores, agrees = zip(*table, strict=True)
    return np.array(scores) / 20, np.array(agrees), np.ones(len(table))


@given(table=TABLES, data=st.data())
def test_a_proposal_does_not_depend_on_the_order_of_the_rows(table, data):
    mixed = data.draw(st.permutations(table))
    assert propose(*columns(table), 0.2).threshold == propose(*columns(mixed), 0.2).threshold
    one, other = prospect(*columns(table), 0.2), prospect(*columns(mixed), 0.2)
    assert [point.threshold for point in one] == [point.threshold for point in other]
    assert np.allclose([point.loss for point in one], [point.loss for point in other])


WEIGHTED = st.lists(st.tuples(st.booleans(), st.sampled_from([1.0, 0.3, 0.05])), max_size=200)


@given(rows=WEIGHTED, data=st.data())
def test_a_certificate_does_not_depend_on_the_order_of_its_rows(rows, data):
    evidence = []
    for order in (rows, data.draw(st.permutations(rows))):
        trial = trial_of(1, 0, 1000)
        trial.observations = [Observation(0.9, lost, 0, False, weight=weight) for lost, weight in order]
        evidence.append(trial.evidence(0.9))
    assert evidence[0] == pytest.approx(evidence[1])


@given(table=GOOD_TABLES, data=st.data())
@settings(max_examples=50)
def test_what_a_trial_certifies_does_not_depend_on_the_order_of_its_looks(table, data):
    thresholds = []
    for order in (table, data.draw(st.permutations(table))):
        trial = trial_of(1, 0, 1000)
        trial.allowance = 0.3
        rows = [record(position) for position in range(len(order))]
        answers = iter(order)

        class Said:
            def predict(self, query, answers=answers):
                score, right = next(answers)
                return Prediction("lights" if right else "music", score / 20, None)

        trial.observe(rows, Said(), judging)
        thresholds.append(trial.certified())
    assert thresholds[0] == thresholds[1]


@given(table=TABLES, stricter=st.integers(0, 20), looser=st.integers(0, 20))
def test_a_stricter_threshold_keeps_no_more_and_loses_no_more(table, stricter, looser):
    stricter, looser = max(stricter, looser) / 20, min(stricter, looser) / 20
    trial = trial_of(1, 0, 1000)
    answers = iter(table)

    class Said:
        def predict(self, query):
            score, right = next(answers)
            return Prediction("lights" if right else "music", score / 20, None)

    trial.observe([record(position) for position in range(len(table))], Said(), judging)
    assert trial.kept(stricter) <= trial.kept(looser)
    assert trial.losses(stricter) <= trial.losses(looser)
    assert trial.evidence(stricter) >= trial.evidence(looser)


def test_the_draw_is_told_nothing_but_seed_id_and_rate():
    assert list(inspect.signature(draw).parameters) == ["seed", "query_id"]
    assert list(inspect.signature(is_explored).parameters) == ["seed", "query_id", "rate"]


@given(
    text=st.text(max_size=50),
    tenant=st.text(max_size=5),
    subject=st.text(max_size=5),
    schema=st.text(max_size=5),
    chat=st.booleans(),
    name=st.text(min_size=1, max_size=20),
    rate=st.floats(0, 1),
)
@settings(max_examples=50)
def test_nothing_known_of_a_query_moves_its_draw(tmp_path_factory, text, tenant, subject, schema, chat, name, rate):
    tasks = Tasks(tmp_path_factory.getbasetemp() / "none", _kept_orders(rate))
    hosted = tasks.get("home")
    serving = _Serving()
    query = Query(name, "home", text, tenant=tenant, subject=subject, response_schema=schema)
    asked = replace(query, text="", messages=(Message("user", text),)) if chat else query
    assert tasks.is_drawn(hosted, serving, asked) == is_explored(SEED, name, rate)


def _kept_orders(rate):
    return KeptOrders(SEED, (Order("home", 1, "", rate),), heard=True)


class _Serving:
    manifest = Manifest(TASK, 1, 0.0, Policy(0.5))
    student = None


@given(
    queries=st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 40), st.integers(0, 6), st.sampled_from(Route), st.sampled_from(Mode)),
        min_size=8,
        max_size=30,
    ),
    limit=st.integers(0, 3),
    of_day=st.booleans(),
)
def test_never_defers_more_than_a_limit_allows(queries, limit, of_day):
    """Queries overlap: each is decided, and leaves or stays, up to six queries after it came."""
    now, left, under_way = [DAY_SECONDS - 120.0], [], []
    quota = Quota(Budget(per_day=limit) if of_day else Budget(per_minute=limit), clock=lambda: now[0])

    def finish(score, permit, route, mode):
        obstacle = None if permit.granted else Reason.BUDGET
        if decide(Policy(0.5), score, route=route, mode=mode, obstacle=obstacle).action is Action.DEFER:
            permit.use()
            left.append(now[0])
        permit.close()

    for position, (score, pause, after, route, mode) in enumerate(queries):
        now[0] += pause
        under_way.append((position + after, score, quota.permit(), route, mode))
        for one in [one for one in under_way if one[0] <= position]:
            under_way.remove(one)
            finish(*one[1:])
    if of_day:
        assert all(sum(time // DAY_SECONDS == day for time in left) <= limit for day in range(20))
    else:
        assert all(sum(end - MINUTE_SECONDS < time <= end for time in left) <= limit for end in left)


STEPS = st.tuples(st.integers(1, 120), st.integers(1, 30), RATES)


@settings(max_examples=50)
@given(log=logs(), steps=st.lists(STEPS, min_size=1, max_size=5))
def test_a_row_certifies_at_most_once(log, steps):
    """Over challengers that follow each other, each looking several times at a log that grows."""
    spent, used, freeze = set(), [], -1
    for number, (grown, patience, rate) in enumerate(sorted(steps), start=1):
        trial = trial_of(number, freeze, patience, rate)
        for end in (grown, 2 * grown, len(log)):
            rows = list(enumerate(log[:end]))
            seen = trial.observe(certifying(rows, trial, spent), Sure(), judging)
            spent |= {row.key for row in seen}
            used += [row.key for row in seen]
        freeze = grown
    assert len(used) == len(set(used))


@settings(max_examples=50)
@given(log=logs(), steps=st.lists(STEPS, min_size=1, max_size=5))
def test_no_row_certifies_what_it_trained_calibrated_or_chose(log, steps):
    spent = set()
    for number, (frozen, patience, rate) in enumerate(sorted(steps), start=1):
        known = log[:frozen]
        taught = teachable(known, spent)
        learned = {row.key for row in taught} | {row.key for row in calibrating(taught)}
        trial = trial_of(number, len(known) - 1, patience, rate)
        seen = trial.observe(certifying(list(enumerate(log)), trial, spent), Sure(), judging)
        assert not learned & {row.key for row in seen}
        spent |= {row.key for row in seen}


@settings(max_examples=50)
@given(log=logs(), rate=RATES)
def test_what_certifies_was_asked_at_the_rate_of_the_trial_or_above_and_counts_by_its_own(log, rate):
    trial = trial_of(1, -1, 1000, rate)
    seen = trial.observe(certifying(list(enumerate(log)), trial, set()), Mixed(), judging)
    assert all(row.exploration >= rate for row in seen)
    assert all(
        row.explored or observation.weight == row.exploration
        for row, observation in zip(seen, trial.observations, strict=True)
    )
    assert all(observation.weight == 1.0 for row, observation in zip(seen, trial.observations, strict=True) if row.kept)


@settings(max_examples=50)
@given(log=logs(), ends=st.lists(st.integers(1, 60), max_size=4), patience=st.integers(1, 40), rate=RATES)
def test_the_same_log_certifies_the_same_way_after_a_restart(log, ends, patience, rate):
    trial = trial_of(1, -1, patience, rate)
    trial.allowance, trial.alpha = 0.3, 0.2
    again = trial.begun_again()
    for end in (*sorted(ends), len(log)):
        trial.observe(certifying(list(enumerate(log[:end])), trial, set()), Mixed(), judging)
    trial.share(frozenset())  # as a new start does: the reading by devices takes what it may at once
    again.take_up([row for row in log if row.key in trial.observed], Mixed(), judging)
    assert Counter(again.observations) == Counter(trial.observations)
    assert (again.observed, again.counts) == (trial.observed, trial.counts)
    assert (again.certified(), again.weight) == (trial.certified(), trial.weight)
    rest = list(enumerate(log))
    assert certifying(rest, again, set()) == certifying(rest, trial, set())
