"""What a caller of an agent sees."""

from router.query import Reason, Tier


async def test_without_a_student_everything_escalates(cold, cloud):
    answer = await cold.ask("light")
    assert (answer.text, answer.provenance.tier, answer.provenance.reason) == (
        "lights", Tier.CLUSTER, Reason.NO_STUDENT,
    )  # fmt: skip
    assert answer.provenance.covered
    assert answer.provenance.explored
    (asked,) = cloud.queries
    assert (asked.attempt.release, asked.attempt.answer, asked.attempt.exploration) == (0, None, 1.0)


async def test_a_trusted_answer_stays_on_the_device(warm, cloud):
    answer = await warm.ask("light")
    assert (answer.text, answer.provenance.tier, answer.provenance.release) == ("lights", Tier.DEVICE, 1)
    assert answer.confidence > 0.99
    assert not cloud.queries


async def test_an_untrusted_answer_escalates_with_the_attempt(warm, cloud):
    answer = await warm.ask("novel")
    assert (answer.text, answer.provenance.reason) == ("lights", Reason.UNCONFIDENT)
    (asked,) = cloud.queries
    assert asked.attempt.release == 1
    assert asked.attempt.score < asked.attempt.threshold == 0.5
    assert asked.attempt.reason is Reason.UNCONFIDENT
