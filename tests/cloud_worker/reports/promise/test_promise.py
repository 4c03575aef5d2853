import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.reports.promise.describe import describe
from cloud_worker.reports.promise.known import Known
from cloud_worker.reports.promise.limits import LimitsTold
from cloud_worker.reports.promise.metrics import FRESH_SECONDS, PromiseMetrics
from cloud_worker.reports.promise.text import lines_of
from cloud_worker.reports.promise.values import Bin, Covered, MissingRows, PromiseState
from cloud_worker.state.overrides import Override
from cloud_worker.state.store import Store, TaskState
from cloud_worker.state.task_figures import Board, Drifted, Figures, Observed, Waiting, Watched
from edge_agent.testing.tiny_releases import WORDS, empty_release, tiny_release
from router.core.certification.class_gate import ClassFigures
from router.core.domain.task import Exploration, Limits, Mode, Objective, Task
from router.core.monitoring.drift import Comparison
from router.core.policy.budget import Spent
from router.core.release.reports import TaskReport
from router.core.statistics.e_process import Certificate, attempt_alpha
from router.core.statistics.intervals import share_interval
from router.transport.telemetry import Telemetry, TelemetrySettings

TASK = Task("home", reference="big", exploration=Exploration(floor=0.05))
PROOF = Certificate(0.02, attempt_alpha(0.95, 1), 412, 1, 9.0, attempt=1)
RELEASE = replace(tiny_release(TASK, 3, WORDS)[0], certificate=PROOF, reliability=((0.5, 0.6, 0.5), (0.5, 0.98, 1.0)))
STATE = TaskState("home", 1, Mode.SERVE, 0.05, 3, "ab", "idle", "", 0.0, 1, 900, 700, 0.0, 5, "quiet", 0.0)
SEEN = Figures(100.0, taught=800, needed=980, watched=Watched(3, 1000, 8, 0.1))
KNOWN = Known(TASK, STATE, Override(), RELEASE, "", "label", SEEN)
FULL = replace(
    KNOWN,
    override=Override(Mode.OBSERVE, frozen=True, pinned=3),
    figures=replace(
        SEEN,
        waiting=Waiting(4, 240, 1, 560.0, 0.25, 1500, 210.0),
        observed=Observed(3, 50.0, rows=1000, kept=800, disagreed=10, usd=8.0, seconds=40.0, tokens=9000),
        drifted=Drifted(3, 2, (Comparison("distance", 0.4, 1e-6, 412, 200, True),)),
        hour_rows=10,
        hour_planned=50.0,
        blind=True,
    ),
    reports=(
        TaskReport("home", answered=100, covered=90, escalated=40, explored_kept=6),
        TaskReport("home", answered=100, covered=100, degraded=7, escalated=20),
    ),
)


NEVER_EXPLORED = replace(KNOWN, task=replace(TASK, exploration=Exploration(cold=0.0)))
SHARE_AND_FLOOR = replace(TASK, objective=Objective(max_disagreement=0.02, max_escalation=0.3))
SHARE_ALONE = replace(TASK, objective=Objective(max_escalation=0.3))
LEAVES_40 = replace(RELEASE, escalation=0.4)  # at a floor of 5 % explored


def bends(task=SHARE_AND_FLOOR, manifest=LEAVES_40, **changes):
    return describe(replace(KNOWN, task=task, manifest=manifest, **changes)).bends


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "40.0% should leave, and 30.0% is the objective: the floor wins"),
        ({"task": SHARE_ALONE}, "40.0% should leave, and 30.0% is the objective: the traffic has changed"),
        (
            {"manifest": empty_release(TASK)},
            "100.0% should leave, and 30.0% is the objective: no student is proven yet",
        ),
        ({"state": replace(STATE, watch="alarmed")}, "100.0% should leave, and 30.0% is the objective: the release"),
        (
            {"override": Override(Mode.OBSERVE)},
            "100.0% should leave, and 30.0% is the objective: operator override: observe",
        ),
        (
            {"state": replace(STATE, exploration=1.0)},
            "100.0% should leave, and 30.0% is the objective: 100% are explored",
        ),
    ],
)
def test_an_objective_that_is_exceeded_is_told_with_its_reason(changes, words):
    assert bends(**changes).startswith(words)
    known = replace(KNOWN, **({"task": SHARE_AND_FLOOR, "manifest": LEAVES_40} | changes))
    assert f"objective exceeded[/]: {words}" in "\n".join(lines_of("home", 3, describe(known)))


def test_an_objective_that_is_kept_is_not_told_as_exceeded():
    assert bends(manifest=replace(RELEASE, escalation=0.3)) == ""
    assert bends(manifest=replace(RELEASE, escalation=0.32)) == ""  # 412 rows show that much by chance
    heavier = replace(RELEASE, escalation=0.32, certificate=replace(PROOF, rows=4000, weight=412.0))
    assert bends(manifest=heavier) == ""  # rows that count as one each, or as little as their weight
    assert bends(task=TASK) == ""
    assert bends(manifest=None) == ""


def test_what_leaves_now_counts_what_is_explored_now():
    told = describe(replace(KNOWN, manifest=LEAVES_40, state=replace(STATE, exploration=0.24)))
    assert told.escalation == pytest.approx(1 - 0.6 / 0.95 * 0.76)
    assert describe(replace(KNOWN, manifest=LEAVES_40)).escalation == pytest.approx(0.4)
    assert describe(replace(KNOWN, manifest=None)).escalation is None


def test_without_a_floor_no_allowance_is_told_as_used():
    told = describe(replace(KNOWN, task=SHARE_ALONE))
    assert (told.used.loss, told.used.of_allowance) == (0.008, None)
    text = "\n".join(lines_of("home", 3, told))
    assert "8 of 1,000 explored rows differ from the reference's: 0.80%" in text
    assert "no disagreement from big is promised" in text
    assert "allowance used" not in text and "a break is found" not in text


@pytest.mark.parametrize(
    ("known", "state", "words"),
    [
        (KNOWN, "proven", ""),
        (replace(KNOWN, manifest=empty_release(TASK)), "no_student", "the reference answers"),
        (replace(KNOWN, manifest=None), "unproven", "can't be read"),
        (replace(KNOWN, manifest=empty_release(TASK), task=replace(TASK, local_only=True)), "no_student", "refused"),
        (replace(KNOWN, fallen="it was never certified"), "unproven", "never certified"),
        (replace(KNOWN, task=replace(TASK, exploration=Exploration(floor=0.0))), "unproven", "floor is 0"),
        (replace(KNOWN, task=replace(TASK, local_only=True)), "unproven", "never leave"),
        (replace(NEVER_EXPLORED, manifest=empty_release(TASK)), "unproven", "may not explore: exploration.cold is 0"),
        (NEVER_EXPLORED, "proven", ""),
        (replace(KNOWN, state=replace(STATE, watch="alarmed")), "alarmed", "broke its promise"),
        (replace(KNOWN, state=replace(STATE, watch="blind")), "blind", "too few"),
        (replace(KNOWN, state=replace(STATE, watch="unproven")), "unproven", "pinned without proof"),
        (replace(KNOWN, override=Override(Mode.ESCALATE_ALL)), "escalating", "escalate_all"),
        (replace(KNOWN, figures=None), "proven", ""),
    ],
)
def test_the_state_of_a_promise_is_no_better_than_what_is_known(known, state, words):
    told = describe(known)
    assert told.state == state
    assert words in told.why


def test_the_allowance_used_says_its_rows_and_its_interval():
    used = describe(KNOWN).used
    loss = share_interval(8, 1000)
    assert (used.rows, used.losses, used.of_allowance) == (1000, 8, pytest.approx(0.4))
    assert (used.of_allowance_low, used.of_allowance_high) == (loss.low / 0.02, loss.high / 0.02)


@pytest.mark.parametrize(
    ("weight", "words"),
    [(None, "on 412 rows, 1 lost"), (412.0, "on 412 rows, 1 lost"), (191.7, "412 rows worth 192 drawn ones, 1 lost")],
)
def test_rows_that_count_less_than_drawn_ones_are_told_with_their_weight(weight, words):
    told = describe(replace(KNOWN, manifest=replace(RELEASE, certificate=replace(PROOF, weight=weight))))
    assert told.certificate.weight == (weight or 412)
    assert words in "\n".join(lines_of("home", 3, told))


@pytest.mark.parametrize(("hours", "words"), [(1.5, "90 minutes"), (40.2, "41 hours"), (100.0, "5 days")])
def test_rows_are_told_with_their_distinct_queries_and_their_time(hours, words):
    proof = replace(PROOF, distinct=312, first_asked_at=1000.0, last_asked_at=1000.0 + hours * 3600.0)
    told = "\n".join(lines_of("home", 3, describe(replace(KNOWN, manifest=replace(RELEASE, certificate=proof)))))
    assert f"on 412 rows of 312 distinct queries in {words}" in told


def test_classes_are_told_with_their_rows_and_the_worst_is_named():
    classes = (ClassFigures("lights", 200, 180, 0), ClassFigures("mu[sic]", 50, 40, 4), ClassFigures("clock", 2, 1, 1))
    told = describe(replace(KNOWN, classes=classes))
    loss = share_interval(4, 50)
    found = told.classes[1]
    assert (found.label, found.rows, found.kept, found.losses) == ("mu[sic]", 50, 0.8, 4)
    assert (found.loss, found.loss_low, found.loss_high) == (0.08, loss.low, loss.high)
    text = "\n".join(lines_of("home", 3, told))
    assert r"worst of 3 classes: mu\[sic], 4 of 50 drawn rows lost (2.2% to 19.2%), 80% kept" in text
    assert "worst of" not in "\n".join(lines_of("home", 3, describe(KNOWN)))


def test_figures_of_a_release_that_served_before_are_not_told_of_this_one():
    told = describe(replace(KNOWN, state=replace(STATE, champion=5)))
    assert told.used is None


def missing_of(rows, weight, exploration, rate=0.25, expected=421.0):
    figures = replace(SEEN, waiting=Waiting(4, rows, 1, expected, rate, 1500, weight))
    return describe(replace(KNOWN, figures=figures, state=replace(STATE, exploration=exploration)))


@given(rows=st.integers(0, 2000), share=st.floats(0.05, 1), rate=st.sampled_from([0.05, 0.25, 1.0]))
def test_missing_rows_are_counted_at_their_weight_and_in_queries_at_the_rate_in_force(rows, share, rate):
    missing = missing_of(rows, rows * share, rate, rate).missing
    assert (missing.looked_at, missing.have) == (rows, int(rows * share))
    assert missing.rows == max(missing.expected - missing.have, 0)
    assert missing.queries == math.ceil(missing.rows / rate)


def test_many_rows_of_little_weight_are_not_told_as_enough():
    told = missing_of(428, 192.4, 0.25)
    assert (told.missing.rows, told.missing.queries) == (229, 916)
    assert (
        "release 4 waits: 428 rows, 1 lost, worth 192 drawn ones; 229 of about 421 missing, about 916 queries at 25%"
        in "\n".join(lines_of("home", 3, told))
    )


@pytest.mark.parametrize(("exploration", "queries"), [(1.0, 229), (0.25, 916), (0.05, None), (0.0, None)])
def test_rows_come_at_the_rate_in_force_and_count_not_at_all_below_that_of_the_trial(exploration, queries):
    told = missing_of(428, 192.4, exploration)
    assert told.missing.queries == queries
    assert ("none counts at" in "\n".join(lines_of("home", 3, told))) is (queries is None)


def test_without_a_challenger_the_next_fit_is_what_is_missing():
    missing = describe(KNOWN).missing
    assert missing == MissingRows(None, 800, 980, 180, None)


def test_what_is_spent_of_the_limits_stands_beside_them():
    assert describe(KNOWN).limits is None
    today = 20_000 * 86_400.0
    limited = replace(TASK, budget=Limits(30, 20_000, 25.0))
    told = describe(replace(KNOWN, task=limited, spent=Spent(day=20_000, queries=12_030, usd=3.1), now=today + 5))
    assert told.limits == LimitsTold(30, 20_000, 25.0, 12_030, 3.1)
    text = "\n".join(lines_of("home", 3, told))
    assert "limits: 12,030 of 20,000 queries and $3.10 of $25.00 today; 30 queries a minute each" in text
    tomorrow = describe(replace(KNOWN, task=limited, spent=Spent(day=20_000, queries=12_030), now=today + 86_400.0))
    assert tomorrow.limits.queries == 0
    of_devices = describe(replace(KNOWN, task=replace(TASK, budget=Limits(30))))
    assert "limits: 30 queries a minute each" in "\n".join(lines_of("home", 3, of_devices))


def test_the_delays_of_1_5_2_and_3_times_the_promise_stand_beside_it_in_queries():
    told = describe(replace(KNOWN, figures=None))
    found = {delay.ratio: (delay.rows, delay.least_rows) for delay in told.delays}
    assert {ratio: least for ratio, (_, least) in found.items()} == {1.5: 1353, 2.0: 378, 3.0: 113}
    assert all(least <= rows < 2 * least for rows, least in found.values())
    assert all(delay.rows < delay.queries < delay.rows / 0.05 for delay in told.delays)
    text = "\n".join(lines_of("home", 3, told))
    assert "a break is found after about: 1.5x 2,1" in text
    assert "2x 618 rows (2,005 queries)" in text
    rarely = replace(KNOWN, figures=None, state=replace(STATE, exploration=0.01))
    assert "2x 618 rows (7,8" in "\n".join(lines_of("home", 3, describe(rarely)))


def test_covered_answers_are_pooled_over_the_devices():
    assert describe(FULL).covered == Covered(200, 190, 7, 0.95)
    assert describe(KNOWN).covered.share is None


def test_nothing_explored_finds_no_break():
    delays = describe(replace(KNOWN, state=replace(STATE, exploration=0.0))).delays
    assert [delay.queries for delay in delays] == [None, None, None]
    assert all(delay.rows > 0 for delay in delays)


def test_what_is_saved_leaves_out_what_would_be_explored_all_the_same():
    seen = describe(FULL).observed
    assert seen.saved_usd == pytest.approx(0.95 * 8.0)
    assert (seen.kept.share, seen.disagreement.share) == (0.8, 0.01)
    assert describe(replace(FULL, override=Override())).observed is None


def test_a_release_tells_how_far_its_score_can_be_believed():
    calibration = replace(RELEASE.calibration, error=0.09)  # of scores that were fitted without the row
    told = describe(replace(KNOWN, manifest=replace(RELEASE, calibration=calibration))).calibration
    assert told.error == 0.09
    assert told.bins[0] == Bin(0.5, 0.6, 0.5)


def test_people_read_every_figure_with_its_rows_on_one_screen():
    lines = lines_of("home", 3, describe(FULL))
    text = "\n".join(lines)
    assert len(lines) <= 12
    for words in (
        "certified on 412 rows, 1 lost",
        "net saving 67.0%[/]: 66 of 200 queries asked",
        "explored ones among them; 95.0% are covered",
        "allowance used 40%",
        "8 of 1,000 explored rows lost",
        "10 explored rows in an hour, 50 planned",
        "350 of about 560 missing",
        "inputs have changed[/]: distance",
        "said 60%, was 50% on 50%",
        "would have kept 80.0%",
        "operator override: observe, frozen, release 3 pinned",
    ):
        assert words in text


@given(
    losses=st.integers(0, 50),
    more=st.integers(0, 500),
    taught=st.integers(0, 2000),
    rate=st.sampled_from([0.0, 0.05, 1.0]),
    watch=st.sampled_from(["quiet", "blind", "alarmed", "unproven"]),
)
def test_any_figures_can_be_told_and_shown(losses, more, taught, rate, watch):
    figures = replace(SEEN, taught=taught, watched=Watched(3, losses + more, losses))
    told = describe(replace(KNOWN, figures=figures, state=replace(STATE, exploration=rate, watch=watch)))
    assert told.state in PromiseState
    assert told.used.of_allowance_low <= told.used.of_allowance_high
    assert lines_of("home", 3, told)


def test_figures_are_read_as_they_were_posted_and_only_for_their_version(tmp_path):
    board = Board(Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}").engine)
    assert board.read("home", 1) is None
    board.post("home", 1, SEEN)
    board.post("home", 1, FULL.figures)
    assert board.read("home", 1) == FULL.figures
    assert board.read("home", 2) is None


class Read:
    """Counts how often it is asked."""

    def __init__(self):
        self.asked = 0
        self.error = None

    def __call__(self):
        self.asked += 1
        if self.error:
            raise self.error
        return {"home": describe(FULL)}


def gauges(reader):
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    found[metric.name, *sorted(v for k, v in point.attributes.items() if k != "headrace.task")] = (
                        point.value
                    )
    return found


def test_promises_are_gauges_and_one_gathering_serves_them_all():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader, read, now = InMemoryMetricReader(), Read(), [0.0]
    meter = MeterProvider([reader]).get_meter("test")
    PromiseMetrics(meter, read, lambda: now[0])
    found = gauges(reader)
    assert found["headrace.promise.used",] == pytest.approx(0.4)
    assert found["headrace.promise.rows",] == 1000
    assert found["headrace.promise.covered_share",] == 0.95
    assert found["headrace.promise.net_saving",] == pytest.approx(0.67)
    assert found["headrace.promise.missing_rows",] == 350
    assert found["headrace.promise.suspected",] == 0
    assert found["headrace.exploration",] == 0.05
    assert found["headrace.inputs.warnings",] == 1
    assert found["headrace.inputs.distance", "distance"] == 0.4
    assert {name[1]: value for name, value in found.items() if name[0] == "headrace.promise.state"} == {
        state: float(state == "escalating") for state in PromiseState
    }
    assert read.asked == 1
    now[0] = FRESH_SECONDS
    gauges(reader)
    assert read.asked == 2


def test_a_store_that_can_not_be_read_gives_no_reading():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader, read = InMemoryMetricReader(), Read()
    read.error = OSError("gone")
    PromiseMetrics(MeterProvider([reader]).get_meter("test"), read)
    assert reader.get_metrics_data() is None or gauges(reader) == {}


def test_metrics_are_made_by_the_telemetry_of_a_daemon():
    telemetry = Telemetry.start("headrace-cloud", TelemetrySettings())
    PromiseMetrics(telemetry.meter, Read())
    telemetry.stop()


def test_a_suspected_change_is_told_with_when_it_began_and_what_ends_it():
    assert describe(KNOWN).used.suspected is None
    seen = replace(SEEN, watched=Watched(3, 1000, 8, 0.1, suspected_since=86_400.0, suspected_rows=77))
    told = describe(replace(KNOWN, figures=seen))
    assert (told.used.suspected.since, told.used.suspected.rows_left) == (86_400.0, 77)
    text = "\n".join(lines_of("home", 3, told))
    assert "suspected[/] since 1970-01-02 00:00 UTC: everything is explored until 77 rows more look well" in text


def test_an_objective_that_is_exceeded_names_the_suspicion():
    seen = replace(SEEN, watched=Watched(3, 1000, 8, 0.1, suspected_since=1.0, suspected_rows=77))
    why = bends(state=replace(STATE, exploration=1.0), figures=seen)
    assert why.endswith("everything is explored, since the watch suspects a change")
