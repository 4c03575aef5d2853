"""What a device hides, of what it keeps and sends; and what never leaves it."""

import dataclasses

import grpc
import pytest

from edge_agent.config import PrivacySettings
from edge_agent.testing.tiny_releases import WORDS, tiny_release
from router.core.domain.feedback import Feedback, Opinion
from router.core.domain.query import Consent, Message, Reason, Route, Tier
from router.core.domain.task import Privacy, Task
from router.transport.channel import open_channel
from router.transport.feedback_wire import feedback_to_proto
from router.v1 import cascade_pb2_grpc

SECRET = "ada@mail.example"
REDACTING = Task("home", "simulated", privacy=Privacy(redact=("mail",), local_only_tenants=("acme",)))


async def status_of(call):
    with pytest.raises(grpc.RpcError) as error:
        await call
    return error.value.code()


@pytest.fixture
async def hiding(harness, cloud):
    """An agent whose task hides mail, and keeps one tenant at home; everything is drawn."""
    cloud.publish(*tiny_release(REDACTING, 1, WORDS), exploration=1.0)
    await harness.start()
    await cloud.until_active(1)
    return harness


def bytes_below(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_student_outbox_and_cloud_see_the_redacted_text_alone(hiding, cloud):
    cloud.faults.unavailable = True
    kept = await hiding.ask(f"light {SECRET}", query_id="kept")
    assert kept.provenance.tier is Tier.DEVICE
    assert hiding.daemon.report().outbox_pending == 1
    assert SECRET.encode() not in bytes_below(hiding.folder)
    assert b"<mail>" in bytes_below(hiding.folder)
    cloud.faults.unavailable = False
    await hiding.ask(f"novel {SECRET}", query_id="sent", route=Route.CLOUD_ONLY)
    await cloud.until(lambda: {query.id for query in cloud.queries} >= {"kept", "sent"})
    assert {query.text for query in cloud.queries} == {"light <mail>", "novel <mail>"}
    feedback = Feedback("sent", "home", Opinion.WRONG, SECRET, f"ask {SECRET}")
    await cascade_pb2_grpc.CascadeStub(hiding.channel).Feedback(feedback_to_proto(feedback), timeout=60)
    await cloud.until(lambda: cloud.feedback)
    assert (cloud.feedback[0].correction, cloud.feedback[0].comment) == ("<mail>", "ask <mail>")


async def test_a_tenant_of_whom_nothing_leaves_is_answered_here_or_refused(hiding, cloud):
    answer = await hiding.ask("novel", tenant="acme")
    assert (answer.provenance.tier, answer.provenance.reason) == (Tier.DEVICE, Reason.PRIVACY)
    assert (answer.provenance.covered, answer.provenance.explored) == (False, False)
    refused = await status_of(hiding.ask("novel", tenant="acme", route=Route.CLOUD_ONLY))
    assert refused is grpc.StatusCode.FAILED_PRECONDITION
    assert not cloud.queries and not hiding.daemon.report().outbox_pending
    await hiding.ask("novel", tenant="other")
    assert [query.tenant for query in cloud.queries] == ["other"]


async def test_the_cloud_refuses_what_may_not_leave_by_its_tenant(hiding, cloud):
    async with open_channel(cloud.target, insecure=True, attempts=1) as channel:
        hiding.channel, mine = channel, hiding.channel
        code = await status_of(hiding.ask("light", tenant="acme"))
        hiding.channel = mine
    assert code is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("wishes", "fields"),
    [
        ({"local_only": True}, {}),
        ({"local_only_tasks": ["home"]}, {"consent": Consent.GRANTED}),
        ({"local_only_tenants": ["acme"]}, {"tenant": "acme"}),
    ],
)
async def test_the_owner_of_a_device_can_keep_queries_at_home_whatever_the_cloud_says(harness, cloud, wishes, fields):
    cloud.publish(*tiny_release(Task("home", "simulated"), 1, WORDS), exploration=1.0)
    await harness.start(privacy=wishes)
    await cloud.until_active(1)
    answer = await harness.ask("novel", **fields)
    assert answer.provenance.tier is Tier.DEVICE
    again = await harness.ask("novel", route=Route.CLOUD_ONLY, **fields)
    assert again.provenance.tier is Tier.DEVICE
    assert not cloud.queries and not harness.daemon.report().outbox_pending


async def test_the_owner_can_refuse_that_anything_is_logged_and_hide_more(harness, cloud):
    cloud.publish(*tiny_release(REDACTING, 1, WORDS), exploration=1.0)
    await harness.start(privacy={"log": False, "redact": ["ip"]})
    await cloud.until_active(1)
    await harness.ask(f"novel 10.0.0.1 {SECRET}", consent=Consent.GRANTED)
    assert [(query.text, query.consent) for query in cloud.queries] == [("novel <ip> <mail>", Consent.REFUSED)]


async def test_nothing_of_a_task_that_hides_leaves_before_its_release_is_here(harness, cloud):
    cloud.publish(*tiny_release(REDACTING, 1, WORDS), exploration=1.0)
    cloud.files.put("home", 1, {})
    await harness.start()
    await cloud.until(lambda: cloud.reports)
    assert await status_of(harness.ask(f"light {SECRET}")) is grpc.StatusCode.UNAVAILABLE
    assert not cloud.queries


async def test_a_release_whose_redactor_is_not_installed_is_refused(harness, cloud):
    cloud.publish(*tiny_release(Task("home", "simulated", privacy=Privacy(redact=("badge",))), 1, WORDS))
    await harness.start()
    await cloud.until(lambda: cloud.last_tasks() and cloud.last_tasks()[0].refused)
    assert "badge" in cloud.last_tasks()[0].refused[0][1]


async def test_a_long_text_is_redacted_like_a_short_one(harness, cloud):
    task = dataclasses.replace(REDACTING, max_text_bytes=60_000)
    cloud.publish(*tiny_release(task, 1, WORDS))
    await harness.start()
    await cloud.until_active(1)
    await harness.ask("novel " + f"{SECRET} " * 2000, route=Route.CLOUD_ONLY)
    assert cloud.queries[0].text == "novel " + "<mail> " * 2000
    chat = (Message("user", f"I am {SECRET}"),)
    await harness.ask("", messages=chat, route=Route.CLOUD_ONLY)
    assert cloud.queries[1].messages[0].content == "I am <mail>"


def test_an_owners_redactor_that_is_not_there_is_refused_at_the_start():
    with pytest.raises(ValueError, match="use of card, iban"):
        PrivacySettings(redact=("nonsense",))
