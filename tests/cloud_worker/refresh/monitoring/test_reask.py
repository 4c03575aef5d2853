"""The pool, asked a second time past everything that the gateway keeps."""

import pytest

from cloud_worker.teachers.base import NoAnswer
from router.core.domain.task import Task
from router.core.errors import UnavailableError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def test_every_record_gets_a_fresh_reply_in_its_place(cluster, record):
    from cloud_worker.refresh.monitoring.reask import ask_again

    replies = ask_again(
        Task("home", "recorded"),
        [*(record(position, f"text {position}") for position in range(40)), record(40, "unknown")],
    )
    assert [reply.text for reply in replies[:40]] == [f"label {position % 7}" for position in range(40)]
    assert isinstance(replies[40], NoAnswer)


def test_a_teacher_that_is_not_there_can_not_be_asked_now(cluster, record):
    from cloud_worker.refresh.monitoring.reask import ask_again

    with pytest.raises(UnavailableError, match="from teacher 'nobody'"):
        ask_again(Task("home", "nobody"), [record(0)])
