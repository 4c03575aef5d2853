"""The decision: what stays, what is deferred, and what never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.query import Reason, Route
from router.core.domain.task import Mode
from router.core.policy.deferral import Action, Decision, Policy, decide

SCORES = st.one_of(st.none(), st.floats(0, 1))
THRESHOLDS = st.floats(0, 2)
OBSTACLES = st.sampled_from([None, Reason.UNREACHABLE, Reason.DEADLINE, Reason.BUDGET, Reason.REFUSED])
ANYTHING = {
    "score": SCORES,
    "threshold": THRESHOLDS,
    "route": st.sampled_from(Route),
    "local_only": st.booleans(),
    "mode": st.sampled_from(Mode),
    "obstacle": OBSTACLES,
}
KEPT = {Action.KEEP, Action.DEGRADE}


@given(**ANYTHING)
def test_what_may_not_leave_is_never_deferred(score, threshold, route, local_only, mode, obstacle):
    decision = decide(Policy(threshold), score, route=route, local_only=local_only, mode=mode, obstacle=obstacle)
    if local_only or route is Route.LOCAL_ONLY:
        assert decision.action in {Action.KEEP, Action.REFUSE}
        assert decision.reason is (Reason.PRIVACY if local_only else Reason.ROUTE)


@given(**ANYTHING)
def test_nothing_is_kept_without_a_student(score, threshold, route, local_only, mode, obstacle):
    decision = decide(Policy(threshold), None, route=route, local_only=local_only, mode=mode, obstacle=obstacle)
    assert decision.action in {Action.DEFER, Action.REFUSE}


@given(score=st.floats(0, 1), lower=THRESHOLDS, higher=THRESHOLDS, obstacle=OBSTACLES)
def test_a_higher_threshold_keeps_nothing_that_a_lower_one_deferred(score, lower, higher, obstacle):
    lower, higher = sorted((lower, higher))
    strict = decide(Policy(higher), score, obstacle=obstacle).action
    loose = decide(Policy(lower), score, obstacle=obstacle).action
    assert not (strict is Action.KEEP and loose is not Action.KEEP)


@given(threshold=THRESHOLDS, lower=st.floats(0, 1), higher=st.floats(0, 1))
def test_a_higher_score_is_kept_where_a_lower_one_is(threshold, lower, higher):
    lower, higher = sorted((lower, higher))
    if decide(Policy(threshold), lower).action is Action.KEEP:
        assert decide(Policy(threshold), higher).action is Action.KEEP


@given(score=st.floats(0, 1), threshold=THRESHOLDS, obstacle=OBSTACLES, mode=st.sampled_from(Mode))
def test_an_answer_under_the_policy_is_kept_degraded_only_with_an_obstacle(score, threshold, obstacle, mode):
    decision = decide(Policy(threshold), score, mode=mode, obstacle=obstacle)
    if decision.action is Action.DEGRADE:
        assert obstacle is not None
        assert decision.reason is obstacle
        assert score < threshold or mode is not Mode.SERVE


@given(**ANYTHING)
def test_the_same_inputs_give_the_same_decision(score, threshold, route, local_only, mode, obstacle):
    said = [
        decide(Policy(threshold), score, route=route, local_only=local_only, mode=mode, obstacle=obstacle)
        for _ in range(2)
    ]
    assert said[0] == said[1]


def test_a_score_at_the_threshold_is_kept():
    assert decide(Policy(0.7), 0.7) == Decision(Action.KEEP, Reason.CONFIDENT)


def test_a_threshold_above_one_defers_everything():
    assert decide(Policy(2.0), 1.0) == Decision(Action.DEFER, Reason.UNCONFIDENT)


def test_a_query_for_the_cloud_is_refused_rather_than_answered_locally():
    decision = decide(Policy(0.0), 1.0, route=Route.CLOUD_ONLY, obstacle=Reason.UNREACHABLE)
    assert decision == Decision(Action.REFUSE, Reason.UNREACHABLE)


def test_the_operator_who_observes_or_escalates_all_defers_confident_answers():
    for mode in (Mode.OBSERVE, Mode.ESCALATE_ALL):
        assert decide(Policy(0.0), 1.0, mode=mode) == Decision(Action.DEFER, Reason.OPERATOR)


@given(**ANYTHING)
def test_what_was_cut_is_never_kept(score, threshold, route, local_only, mode, obstacle):
    decision = decide(
        Policy(threshold), score, route=route, local_only=local_only, mode=mode, obstacle=obstacle, cut=True
    )
    assert decision.action is not Action.KEEP
    if decision.action is Action.DEGRADE:
        assert decision.reason is Reason.INPUT_CUT


def test_what_was_cut_escalates_with_that_reason_however_sure():
    assert decide(Policy(0.1), 1.0, cut=True) == Decision(Action.DEFER, Reason.INPUT_CUT)
    assert decide(Policy(0.1), None, cut=True) == Decision(Action.DEFER, Reason.INPUT_CUT)
