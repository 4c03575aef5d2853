"""Feedback at the gateway's service, in this process, over real gRPC; and what operators make of it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.gateway.cascade_service import CascadeServicer
from cloud_worker.gateway.feedback_taker import FeedbackTaker
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.log.spool import Entry, Spool, StoredAnswer
from cloud_worker.reports.feedback import feedback_of, warnings_of
from cloud_worker.state.feedback import Feedbacks, Given
from cloud_worker.state.gold_labels import Gold
from cloud_worker.state.store import Store
from cloud_worker.training.reviewed_data import taught_of
from router.client.async_client import AsyncClient
from router.core.domain.feedback import UNKNOWN_ANSWER, Feedback, Opinion
from router.core.domain.query import Answer, Attempt, Provenance, Tier
from router.core.domain.record import Record, Source
from router.core.domain.task import Cheaper, Task
from router.core.errors import BadInputError, CallerError, OverloadedError, UnknownTaskError
from router.transport.channel import open_channel
from router.transport.feedback_wire import feedback_to_proto
from router.transport.server import Door
from router.transport.wire import answer_to_proto
from router.v1 import cascade_pb2_grpc

CONFIG = cloud_toml("""[[tasks]]
name = "car"
reference = "other"
[[teachers]]
name = "other"
kind = "recorded"
answers = "answers.jsonl"
""")
TASKS = {"home": Task("home", "big", cheaper=Cheaper(("small",))), "car": Task("car", "other")}
NOW = 1e9


def record(query_id, **changes):
    one = Record(
        caller="ada",
        query_id=query_id,
        teacher="big",
        teacher_version="big-1",
        task="home",
        task_version=1,
        asked_at=NOW,
        received_at=NOW,
        text="lamp",
        answer="music",
        source=Source.ESCALATED,
        release=3,
        local_answer="lights",
        subject="person-1",
    )
    return replace(one, **changes)


@pytest.fixture
async def cloud(tmp_path):
    """The service behind a door, with its spool, log and store."""
    (tmp_path / "answers.jsonl").write_text('{"text": "lamp", "label": "music"}\n')
    config = tmp_path / "cloud.toml"
    config.write_text(CONFIG)
    settings = read_config(config)
    settings.data.mkdir()
    store, spool = Store(settings.store_url), Spool(settings.spool_folder / "gateway-0.sqlite")
    log = DistillationLog(settings.log_folder)
    feedbacks = Feedbacks(store.engine)
    taker = FeedbackTaker(feedbacks, TASKS, spool, DistillationLog(settings.log_folder), lambda: NOW)
    door = Door("127.0.0.1:0", insecure=True)
    parts = SimpleNamespace(insecure=True, feedback=taker)
    cascade_pb2_grpc.add_CascadeServicer_to_server(CascadeServicer(parts), door.server)
    target = f"127.0.0.1:{await door.start()}"
    yield SimpleNamespace(
        config=config, store=store, spool=spool, log=log, feedbacks=feedbacks, target=target, taker=taker
    )
    await door.stop(0)
    await spool.close()


async def spooled(cloud, one, task_model="big"):
    provenance = Provenance(Tier.CLUSTER, task_model, "1")
    response = answer_to_proto(Answer("", "music", provenance)).SerializeToString()
    if isinstance(one, Record):
        await cloud.spool.append(Entry(StoredAnswer(one.caller, one.query_id, "d", NOW, response), one))
    else:
        await cloud.spool.append(Entry(StoredAnswer("ada", one, "d", NOW, response), None))


def client(cloud, who="ada"):
    return AsyncClient(cloud.target, insecure=True, device=who)


async def test_who_was_answered_is_heard_and_heard_last(cloud):
    await spooled(cloud, record("q1"))
    async with client(cloud) as ada:
        await ada.feedback("q1", "home", "right")
        await ada.feedback("q1", "home", "wrong", correction="lights", comment="I said lamp")
    [given] = cloud.feedbacks.of("home")
    assert (given.opinion, given.correction, given.comment) == (Opinion.WRONG, "lights", "I said lamp")
    assert (given.caller, given.tier, given.release, given.answer) == ("ada", Tier.CLUSTER, 3, "music")
    assert given.subject == "person-1"


async def test_what_the_log_has_taken_in_is_known_too(cloud):
    cloud.log.append([record("q2", kept=True, explored=True, source=Source.TAUGHT)], "test", 1)
    async with client(cloud) as ada:
        await ada.feedback("q2", "home", "wrong", correction="lights")
    [given] = cloud.feedbacks.of("home")
    assert (given.tier, given.answer, given.drawn) == (Tier.DEVICE, "lights", True)


async def test_an_answer_that_was_not_logged_is_known_for_a_while(cloud):
    await spooled(cloud, "q3")
    async with client(cloud) as ada:
        await ada.feedback("q3", "home", "right")
        with pytest.raises(UnknownTaskError):
            await ada.feedback("q3", "car", "right")
    assert [one.query_id for one in cloud.feedbacks.of("home")] == ["q3"]


async def test_an_answer_of_a_cheaper_teacher_is_known_too(cloud):
    await spooled(cloud, "q4", "small")
    async with client(cloud) as ada:
        with pytest.raises(UnknownTaskError):
            await ada.feedback("q4", "car", "wrong")
        await ada.feedback("q4", "home", "wrong", correction="lights")
    [given] = cloud.feedbacks.of("home")
    assert (given.query_id, given.tier, given.answer) == ("q4", Tier.CLUSTER, "music")


async def test_unknown_ids_other_callers_and_other_tasks_hear_the_same(cloud):
    await spooled(cloud, record("q1"))
    cloud.log.append([record("q2")], "test", 1)
    heard = set()
    asked = [("q9", "home", "ada"), ("q1", "home", "eve"), ("q2", "home", "eve"), ("q1", "car", "ada")]
    for query_id, task, who in [*asked, ("q1", "garden", "ada")]:
        async with client(cloud, who) as one:
            with pytest.raises(UnknownTaskError) as caught:
                await one.feedback(query_id, task, "wrong")
        heard.add(str(caught.value))
    assert heard == {UNKNOWN_ANSWER}
    assert not cloud.feedbacks.of("home")


async def test_a_device_vouches_for_what_it_answered_itself(cloud):
    attempt = Attempt(release=5, answer="lights", kept=True)
    await cloud.taker.take(Feedback("local", "home", Opinion.WRONG, attempt=attempt), "device-1")
    [given] = cloud.feedbacks.of("home")
    assert (given.caller, given.tier, given.release, given.answer) == ("device-1", Tier.DEVICE, 5, "lights")
    assert not given.drawn


async def test_malformed_feedback_names_its_field(cloud):
    async with client(cloud) as ada:
        with pytest.raises(BadInputError, match="verdict"):
            await ada.feedback("q1", "home", "good")
        with pytest.raises(BadInputError, match="correction"):
            await ada.feedback("q1", "home", "right", correction="x")
    channel = open_channel(cloud.target, insecure=True, attempts=1)
    request = feedback_to_proto(Feedback("q1", "home", Opinion.RIGHT))
    request.comment = "x" * 3000
    with pytest.raises(Exception, match="comment has 3000 bytes"):
        await cascade_pb2_grpc.CascadeStub(channel).Feedback(request)
    await channel.close(None)


async def test_a_caller_that_says_too_much_is_told_to_wait_and_no_other(cloud):
    await spooled(cloud, record("q1"))
    for _ in range(60):
        await cloud.taker.take(Feedback("q1", "home", Opinion.WRONG), "ada")
    with pytest.raises(OverloadedError) as caught:
        await cloud.taker.take(Feedback("q1", "home", Opinion.WRONG), "ada")
    assert caught.value.retry_after == pytest.approx(1.0)
    with pytest.raises(CallerError):
        await cloud.taker.take(Feedback("q1", "home", Opinion.WRONG), "eve")


# Operators


def given(query_id, **changes):
    one = Given(
        "home", "ada", query_id, "big-1", Opinion.WRONG, "lights", "", Tier.DEVICE, 3, "music", False, "person-1", NOW
    )
    return replace(one, **changes)


def run(cloud, *words):
    return CliRunner().invoke(app, ["feedback", *words, "--config", str(cloud.config)])


async def test_feedback_is_listed_until_it_is_reviewed(cloud):
    cloud.feedbacks.keep(given("q1"))
    cloud.feedbacks.keep(given("q2", opinion=Opinion.RIGHT, correction=""))
    assert "lights" in run(cloud, "list", "home").stdout
    waiting = json.loads(run(cloud, "list", "home", "--waiting", "--json").stdout)
    assert [one["query_id"] for one in waiting["feedback"]] == ["q1"]
    assert run(cloud, "review", "home", "q1", "--dismiss").exit_code == 0
    assert "nothing was said" in run(cloud, "list", "home", "--waiting").stdout


async def test_only_what_is_accepted_of_a_row_that_was_not_drawn_may_teach(cloud):
    for name in ("accepted", "dismissed", "waiting"):
        cloud.feedbacks.keep(given(name))
    cloud.feedbacks.keep(given("drawn", drawn=True))
    run(cloud, "review", "home", "accepted", "--accept", "--label", "lights on")
    run(cloud, "review", "home", "dismissed", "--dismiss")
    run(cloud, "review", "home", "drawn", "--accept")
    assert cloud.feedbacks.lessons("home") == {("ada", "accepted", "big-1"): "lights on"}


async def test_what_is_accepted_of_a_drawn_row_is_a_label_that_is_not_blind(cloud):
    cloud.feedbacks.keep(given("drawn", drawn=True))
    assert "not blind" in run(cloud, "review", "home", "drawn", "--accept").stdout
    gold = Gold(cloud.store.engine)
    [label] = gold.labels("home")
    assert (label.label, label.blind, label.subject) == ("lights", False, "person-1")
    run(cloud, "review", "home", "drawn", "--dismiss")
    assert not gold.labels("home")


async def test_reviews_that_make_no_sense_say_why(cloud):
    cloud.feedbacks.keep(given("q1", correction=""))
    cloud.feedbacks.keep(given("q2"))
    cloud.feedbacks.keep(given("q2", caller="bob"))
    assert "say what is right" in run(cloud, "review", "home", "q1", "--accept").output
    assert "ada, bob used this id" in run(cloud, "review", "home", "q2", "--accept").output
    assert "has no feedback" in run(cloud, "review", "home", "q9", "--dismiss").output
    assert run(cloud, "review", "home", "q1").exit_code == 2


async def test_a_new_opinion_undoes_the_review(cloud):
    cloud.feedbacks.keep(given("q1"))
    run(cloud, "review", "home", "q1", "--accept")
    cloud.feedbacks.keep(given("q1", correction="music"))
    assert not cloud.feedbacks.lessons("home")


async def test_a_release_of_which_much_is_called_wrong_warns(cloud):
    for number in range(60):
        cloud.feedbacks.keep(given(f"a{number}", release=1, opinion=Opinion.WRONG if number < 6 else Opinion.RIGHT))
        cloud.feedbacks.keep(given(f"b{number}", release=2, opinion=Opinion.WRONG if number < 40 else Opinion.RIGHT))
    said = feedback_of(cloud.store, "home")
    [line] = warnings_of("home", said)
    assert "release 2" in line
    assert (said["said"], said["wrong"]) == (120, 46)


async def test_what_concerns_a_subject_is_erased(cloud):
    cloud.feedbacks.keep(given("q1"))
    cloud.feedbacks.keep(given("q2", subject="person-2"))
    assert cloud.feedbacks.forget(subject="person-1") == 1
    assert [one.query_id for one in cloud.feedbacks.of("home")] == ["q2"]


async def test_what_was_accepted_teaches_the_next_student(cloud):
    cloud.store.declare_tasks(TASKS.values())
    rows = [record("accepted"), record("waiting")]
    for row in rows:
        cloud.feedbacks.keep(given(row.query_id))
    run(cloud, "review", "home", "accepted", "--accept")
    assert {row.query_id: row.answer for row in taught_of(rows, cloud.store, "home")} == {
        "accepted": "lights",
        "waiting": "music",
    }
