"""What a caller of an agent sees."""

import asyncio
import time

import grpc
import pytest

from edge_agent.testing.tiny_releases import TASK, WORDS, tiny_release
from router.core.domain.query import Attempt, Consent, Query, Reason, Route, Tier, Wanted
from router.core.domain.task import Mode, Task
from router.core.errors import BusyError
from router.core.policy.exploration import is_explored
from router.transport.channel import call_error
from router.transport.telemetry_names import META_DEVICE
from router.transport.wire import query_to_proto
from router.v1 import cascade_pb2_grpc
from router.v1.cascade_pb2 import FeedbackRequest


async def status_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_without_a_student_everything_escalates(cold, cloud):
    answer = await cold.ask("light")
    assert answer.text == "lights"
    provenance = answer.provenance
    assert (provenance.tier, provenance.reason) == (Tier.CLUSTER, Reason.NO_STUDENT)
    assert provenance.covered
    assert provenance.explored
    assert provenance.logged
    (asked,) = cloud.queries
    assert (asked.attempt.release, asked.attempt.answer, asked.attempt.exploration) == (0, None, 1.0)


async def test_a_trusted_answer_stays_on_the_device(warm, cloud):
    answer = await warm.ask("light")
    assert (answer.text, answer.provenance.tier, answer.provenance.release) == ("lights", Tier.DEVICE, 1)
    assert answer.confidence > 0.99
    assert answer.provenance.reason is Reason.CONFIDENT
    assert not cloud.queries


async def test_an_untrusted_answer_escalates_with_the_attempt(warm, cloud):
    answer = await warm.ask("novel", query_id="q-1")
    assert (answer.query_id, answer.text, answer.provenance.reason) == ("q-1", "lights", Reason.UNCONFIDENT)
    (asked,) = cloud.queries
    assert (asked.id, asked.attempt.release, asked.attempt.reason) == ("q-1", 1, Reason.UNCONFIDENT)
    assert asked.attempt.score < asked.attempt.threshold == 0.5
    assert not asked.attempt.kept
    assert abs(asked.attempt.asked_at - time.time()) < 60


async def test_an_explored_query_is_kept_and_taught_later(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    kept = await warm.ask("light", query_id="kept")
    assert (kept.provenance.tier, kept.provenance.explored, kept.provenance.covered) == (Tier.DEVICE, True, True)
    await cloud.until(lambda: cloud.last_tasks()[0].explored_kept == 1)
    (taught,) = cloud.queries
    attempt = taught.attempt
    assert (attempt.kept, attempt.explored, attempt.degraded, attempt.answer) == (True, True, False, "lights")
    assert (attempt.reason, attempt.exploration) == (Reason.EXPLORED, 1.0)
    assert cloud.last_tasks()[0].explored_disagreed == 0
    assert warm.daemon.report().outbox_pending == 0


async def test_a_disagreement_on_an_explored_query_is_counted(warm, cloud):
    cloud.answer = lambda text: "music"
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    await warm.ask("light")
    await cloud.until(lambda: cloud.last_tasks()[0].explored_disagreed == 1)


async def test_the_draw_is_the_one_that_the_cloud_can_recompute(warm, cloud):
    cloud.order("home", exploration=0.5)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 0.5)
    names = [f"q-{number}" for number in range(20)]
    answers = [await warm.ask("light", query_id=name) for name in names]
    drawn = [is_explored(cloud.book.seed, name, 0.5) for name in names]
    assert [answer.provenance.explored for answer in answers] == drawn
    await cloud.until(lambda: cloud.last_tasks()[0].explored_kept == sum(drawn))


async def test_a_local_only_query_is_answered_here_or_refused(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    answer = await warm.ask("novel", route=Route.LOCAL_ONLY)
    assert (answer.provenance.tier, answer.provenance.reason) == (Tier.DEVICE, Reason.ROUTE)
    assert not answer.provenance.covered
    assert not answer.provenance.explored
    assert warm.daemon.report().outbox_pending == 0
    assert not cloud.queries


async def test_a_local_only_query_without_a_student_is_refused(cold, cloud):
    code, details = await status_of(cold.ask("light", route=Route.LOCAL_ONLY))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "no student here yet" in details
    assert not cloud.queries


async def test_a_local_only_task_never_leaves(harness, cloud):
    task = Task("home", "simulated", local_only=True)
    cloud.publish(*tiny_release(task, 1, WORDS), exploration=1.0)
    await harness.start()
    await cloud.until_active(1)
    answer = await harness.ask("novel")
    assert (answer.provenance.tier, answer.provenance.reason) == (Tier.DEVICE, Reason.PRIVACY)
    code, _ = await status_of(harness.ask("light", route=Route.CLOUD_ONLY))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert not cloud.queries


async def test_a_cloud_only_query_passes_through_as_it_is(warm, cloud):
    answer = await warm.ask("light", route=Route.CLOUD_ONLY)
    assert answer.provenance.tier is Tier.CLUSTER
    assert not answer.provenance.covered
    assert cloud.queries[0].attempt is None


BELOW = ((META_DEVICE, "device-below"),)


async def test_a_query_of_a_tier_below_keeps_its_attempt(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    await harness.start(door={"tiers": ("device-below",)})
    await cloud.until_active(1)
    attempt = Attempt(7, "lights", 0.25, Reason.UNCONFIDENT, True, 0.5)
    await harness.ask("light", attempt=attempt, metadata=BELOW)
    assert cloud.queries[0].attempt == attempt


@pytest.mark.parametrize("who", [(), BELOW, ((META_DEVICE, "device-1"),), ((META_DEVICE, "anonymous"),)])
@pytest.mark.parametrize("attempt", [Attempt(), Attempt(kept=True, explored=True, exploration=1.0)])
async def test_an_attempt_of_whoever_is_no_tier_below_is_refused(warm, cloud, who, attempt):
    stub = cascade_pb2_grpc.CascadeStub(warm.channel)
    request = query_to_proto(Query("forged", "home", "light", attempt=attempt))
    said = FeedbackRequest(query_id="forged", task="home", verdict=2, attempt=request.attempt)
    calls = (
        stub.Answer(request, timeout=60, metadata=who),
        stub.AnswerStream(request, timeout=60, metadata=who).read(),
        stub.Feedback(said, timeout=60, metadata=who),
    )
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details().startswith("attempt ")
    assert not cloud.queries and not cloud.feedback
    assert warm.report().answered == 0


async def test_who_refuses_to_be_logged_is_neither_drawn_nor_taught(warm, cloud):
    cloud.order("home", exploration=1.0)
    await cloud.until(lambda: cloud.last_tasks()[0].exploration == 1.0)
    answer = await warm.ask("light", consent=Consent.REFUSED)
    assert not answer.provenance.explored
    assert not answer.provenance.covered
    cloud.faults.unavailable = True
    degraded = await warm.ask("novel", consent=Consent.REFUSED)
    assert degraded.provenance.degraded
    assert warm.daemon.report().outbox_pending == 0


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ESCALATE_ALL])
async def test_the_operators_hand_sends_everything_up_at_once(warm, cloud, mode):
    cloud.order("home", mode=mode)
    await cloud.until(lambda: warm.daemon.tasks.get("home").mode is mode)
    answer = await warm.ask("light")
    assert (answer.provenance.tier, answer.provenance.reason) == (Tier.CLUSTER, Reason.OPERATOR)
    assert cloud.queries[0].attempt.answer == "lights"


async def test_an_ordered_threshold_takes_effect_at_once(warm, cloud):
    cloud.order("home", threshold=2.0, threshold_version=9)
    await cloud.until(lambda: cloud.last_tasks()[0].threshold_version == 9)
    assert (await warm.ask("light")).provenance.tier is Tier.CLUSTER
    assert cloud.queries[0].attempt.threshold_version == 9


async def test_the_likeliest_labels_come_along_when_wanted(warm):
    answer = await warm.ask("light", wanted=Wanted(top_k=2))
    assert [label for label, _ in answer.distribution.top] == ["lights", "clock"]
    assert answer.distribution.tail < -5


async def test_a_repeated_id_gets_the_stored_answer_and_another_question_is_refused(warm, cloud):
    first = await warm.ask("novel", query_id="q")
    assert await warm.ask("novel", query_id="q") == first
    assert len(cloud.queries) == 1
    assert warm.report().answered == 1
    code, _ = await status_of(warm.ask("light", query_id="q"))
    assert code is grpc.StatusCode.ALREADY_EXISTS


async def test_unknown_tasks_and_bad_input_are_named(warm):
    code, details = await status_of(warm.ask("light", task="garden"))
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "there is no task 'garden' here; there are: home")
    code, details = await status_of(warm.ask("x" * 5000))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "over the limit of 4096" in details
    code, _ = await status_of(warm.ask(" "))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_before_the_cloud_was_heard_a_query_may_be_asked_again(harness, cloud):
    await cloud.stop()
    await harness.start()
    code, details = await status_of(harness.ask("light", seconds=1))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "not heard from the cloud yet" in details
    code, details = await status_of(harness.ask("light", route=Route.LOCAL_ONLY))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "is being set up" in details


async def test_counters_add_up(warm, cloud):
    for text in ("light", "novel", "song", "odd"):
        await warm.ask(text)
    cloud.faults.unavailable = True
    await warm.ask("unknown words", consent=Consent.REFUSED)
    await status_of(warm.ask("light", route=Route.CLOUD_ONLY, seconds=0.3))
    report = warm.report()
    assert (report.answered, report.kept, report.escalated, report.degraded, report.failed) == (5, 2, 2, 1, 1)
    assert report.healthy_answers == 5
    assert 0 < report.p50_milliseconds <= report.p95_milliseconds


async def test_two_tasks_live_side_by_side(harness, cloud):
    cloud.publish(*tiny_release(TASK, 1, WORDS))
    car = Task("car", "simulated")
    cloud.publish(*tiny_release(car, 5, {"brake": "stop", "gas": "go"}))
    await harness.start()
    await cloud.until(lambda: {task.active_release for task in cloud.last_tasks()} == {1, 5})
    assert (await harness.ask("light")).text == "lights"
    assert (await harness.ask("brake", task="car")).text == "stop"
    assert (await harness.ask("brake")).text == "unknown"


async def test_a_cloud_that_is_away_degrades_within_the_deadline(warm, cloud):
    await cloud.stop()
    started = time.monotonic()
    answer = await warm.ask("novel", seconds=3.0)
    assert time.monotonic() - started < 3.0
    provenance = answer.provenance
    assert (provenance.tier, provenance.degraded, provenance.covered) == (Tier.DEVICE, True, False)
    assert provenance.reason is Reason.UNREACHABLE
    assert warm.daemon.report().outbox_pending == 1


async def test_a_cloud_that_hangs_degrades_within_the_deadline(warm, cloud):
    cloud.faults.hang = True
    answer = await warm.ask("novel", seconds=1.0)
    assert (answer.provenance.degraded, answer.provenance.reason) == (True, Reason.DEADLINE)


async def test_after_failures_in_a_row_degraded_answers_come_at_once(warm, cloud):
    cloud.faults.hang = True
    await asyncio.gather(*(warm.ask("novel", seconds=0.5) for _ in range(8)))
    started = time.monotonic()
    answer = await warm.ask("novel", seconds=10)
    assert time.monotonic() - started < 0.4
    assert (answer.provenance.degraded, answer.provenance.reason) == (True, Reason.UNREACHABLE)


async def test_a_shed_query_is_degraded_and_the_pushback_obeyed(warm, cloud):
    cloud.faults.pushback = 60.0
    answer = await warm.ask("novel", seconds=1.0)
    assert answer.provenance.degraded
    asked = len(cloud.queries)
    assert asked == 1
    assert (await warm.ask("odd", seconds=1.0)).provenance.degraded


async def test_a_teacher_that_is_left_alone_holds_up_no_other_task(warm, cloud):
    cloud.faults.busy["home"] = 60.0
    for _ in range(8):
        answer = await warm.ask("novel", seconds=5.0)
        assert (answer.provenance.degraded, answer.provenance.reason) == (True, Reason.REFUSED)
    cloud.faults.busy.clear()
    assert not (await warm.ask("odd", seconds=5.0)).provenance.degraded


async def test_without_a_student_one_hears_at_once_for_how_long_its_teacher_is_left_alone(cold, cloud):
    cloud.faults.busy["home"] = 60.0
    started = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cold.ask("novel", seconds=20)
    error = call_error(caught.value)
    assert isinstance(error, BusyError)
    assert error.retry_after == 60
    assert time.monotonic() - started < 10
    cloud.faults.busy["home"] = 1.0
    waiting = asyncio.create_task(cold.ask("novel", seconds=20))
    await cloud.until(lambda: len(cloud.queries) >= 2)
    cloud.faults.busy.clear()
    assert (await waiting).text


async def test_degraded_queries_are_taught_when_the_cloud_is_back(warm, cloud):
    await cloud.stop()
    for name in ("q-1", "q-2", "q-3"):
        await warm.ask("novel", query_id=name, seconds=2.0)
    await cloud.start()
    await cloud.until(lambda: {query.id for query in cloud.queries} >= {"q-1", "q-2", "q-3"}, seconds=120)
    assert all(query.attempt.degraded and query.attempt.kept for query in cloud.queries)
    await cloud.until(lambda: cloud.reports[-1].outbox_pending == 0)


async def test_without_a_student_a_killed_gateway_that_comes_back_loses_nothing(cold, cloud):
    cloud.faults.delay = 0.3
    calls = [asyncio.create_task(cold.ask("light", query_id=f"q-{number}", seconds=20)) for number in range(20)]
    await cloud.until(lambda: len(cloud.queries) >= 10)
    await cloud.stop()
    late = [asyncio.create_task(cold.ask("song", query_id=f"late-{number}", seconds=20)) for number in range(20)]
    await asyncio.sleep(2)  # the time that it is away
    cloud.faults.delay = 0.0
    await cloud.start()
    answers = await asyncio.gather(*calls, *late)
    assert {answer.text for answer in answers} == {"lights", "music"}
    assert cold.report().failed == 0


async def test_without_a_student_a_cloud_that_stays_away_is_an_error_before_the_deadline(cold, cloud):
    await cloud.stop()
    started = time.monotonic()
    code, details = await status_of(cold.ask("light", seconds=1.5))
    assert time.monotonic() - started < 1.5
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "no answer within" in details
    assert "127.0.0.1" not in details


async def test_a_stream_ends_with_the_whole_answer(warm):
    stub = cascade_pb2_grpc.CascadeStub(warm.channel)
    chunks = [chunk async for chunk in stub.AnswerStream(query_to_proto(Query("q", "home", "light")), timeout=60)]
    assert "".join(chunk.delta for chunk in chunks) == chunks[-1].response.answer == "lights"


async def test_a_cloud_that_knows_no_such_task_degrades(warm, cloud):
    cloud.faults.unknown_task = True
    answer = await warm.ask("novel")
    assert (answer.provenance.degraded, answer.provenance.reason) == (True, Reason.REFUSED)


async def test_the_trace_goes_on_from_the_caller_to_the_cloud(warm, cloud):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await warm.ask("novel", metadata=[("traceparent", f"00-{trace}-00f067aa0ba902b7-01")])
    metadata = cloud.metadata[0]
    assert metadata["traceparent"].split("-")[1] == trace
    # No one receives the spans of this agent, so it makes none: the cloud's hang on the caller's.
    assert metadata["traceparent"].split("-")[2] == "00f067aa0ba902b7"
    assert metadata["headrace-device"] == "device-1"


async def test_an_answer_to_another_query_is_never_passed_on(warm, cloud):
    cloud.faults.other_id = True
    answer = await warm.ask("novel", query_id="mine", seconds=2.0)
    assert (answer.query_id, answer.provenance.tier, answer.provenance.degraded) == ("mine", Tier.DEVICE, True)
    code, _ = await status_of(warm.ask("light", query_id="passed", route=Route.CLOUD_ONLY, seconds=1.0))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert warm.daemon.report().outbox_pending == 1
    cloud.faults.other_id = False
    await cloud.until(lambda: cloud.reports[-1].outbox_pending == 0, seconds=120)


LONG = "light " * 33  # the tiny student reads 32 tokens


async def test_a_query_that_the_student_reads_in_part_escalates_and_says_so(warm, cloud):
    answer = await warm.ask(LONG)
    provenance = answer.provenance
    assert (provenance.tier, provenance.reason, provenance.degraded) == (Tier.CLUSTER, Reason.INPUT_CUT, False)
    (asked,) = cloud.queries
    assert (asked.attempt.reason, asked.attempt.answer, asked.attempt.score) == (Reason.INPUT_CUT, "lights", None)
    assert (await warm.ask("light " * 32)).provenance.reason is Reason.CONFIDENT


async def test_a_cut_query_is_degraded_as_cut_while_the_cloud_is_away(warm, cloud):
    await cloud.stop()
    provenance = (await warm.ask(LONG)).provenance
    assert (provenance.tier, provenance.degraded, provenance.reason) == (Tier.DEVICE, True, Reason.INPUT_CUT)
    assert not provenance.covered
    assert warm.report().degraded == 1
    assert warm.daemon.report().outbox_pending == 1


async def test_a_cut_query_that_may_not_leave_is_degraded_and_never_leaves(warm, cloud):
    provenance = (await warm.ask(LONG, route=Route.LOCAL_ONLY)).provenance
    assert (provenance.tier, provenance.degraded, provenance.reason) == (Tier.DEVICE, True, Reason.INPUT_CUT)
    assert warm.daemon.report().outbox_pending == 0
    assert not cloud.queries


async def test_a_release_that_keeps_what_was_asked_before_escalates_whatever_is_new(warm, cloud):
    cloud.publish(*tiny_release(TASK, 2, WORDS, asked=["light", "the song"]))
    await cloud.until_active(2)
    assert (await warm.ask("Light")).provenance.tier is Tier.CLUSTER  # the tiny student knows no capitals
    assert (await warm.ask("light")).provenance.tier is Tier.DEVICE
    new = await warm.ask("lamp")
    assert (new.provenance.tier, new.provenance.reason) == (Tier.CLUSTER, Reason.UNCONFIDENT)
    assert cloud.queries[-1].attempt.answer == "lights"
    cloud.faults.unavailable = True
    degraded = await warm.ask("lamp")
    assert (degraded.text, degraded.provenance.degraded, degraded.provenance.tier) == ("lights", True, Tier.DEVICE)
