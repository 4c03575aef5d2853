"""Devices hear of erasures until they have answered, and are believed in what they were asked alone."""

import time

import pytest

from cloud_worker.fleet.erasures import Erasures
from cloud_worker.startup.in_process import serving
from cloud_worker.state.repeated_rows import Repeats
from cloud_worker.state.store import Store
from cloud_worker.teachers.base import TeacherAnswer
from cloud_worker.testing import edge
from router.core.domain.task import Task
from router.core.privacy.erasure import Erased, Erasure, digest_of
from router.core.release.reports import DeviceReport


class Saying:
    name, version, threads = "big", "1", 1

    def answer(self, questions):
        yield from (TeacherAnswer(question.text, "1") for question in questions)


@pytest.fixture
async def fleet(tmp_path):
    """A gateway, and the erasures in its store."""
    async with serving(tmp_path, [Saying()], [Task("home", "big")]) as target:
        yield target, Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}")


async def test_a_device_hears_of_its_erasures_until_it_has_answered(fleet):
    target, store = fleet
    erasures = Erasures(store.engine)
    subject = erasures.order("person-17", by_subject=True, who="ada", now=time.time())
    mine = erasures.order("kitchen", by_subject=False, who="ada", now=time.time())
    async with edge(target, "kitchen") as kitchen, edge(target, "cellar") as cellar:
        both = (Erasure(subject, digest_of("person-17")), Erasure(mine))
        assert (await kitchen.sync()).erasures == both
        assert (await kitchen.sync()).erasures == both  # not answered yet
        assert (await cellar.sync()).erasures == both[:1]
        said = (Erased(subject, 2, (("home", 7),)), Erased(99, 5, (("home", 8),)))
        assert (await kitchen.sync(DeviceReport("kitchen", erased=said))).erasures == both[1:]
        answered = DeviceReport("cellar", erased=(Erased(mine, 1, (("home", 9),)),))
        assert (await cellar.sync(answered)).erasures == both[:1]  # it was not asked that
    assert Repeats(store.engine).of("home") == {("kitchen", 7)}
    assert erasures.at_devices(subject) == (1, 2)
    (one,) = [one for one in erasures.all() if one.number == subject]
    assert erasures.to_answer(one) == 1


def test_an_order_that_is_not_done_takes_the_next_one_in(tmp_path):
    erasures = Erasures(Store(f"sqlite:///{tmp_path / 'fleet.sqlite'}").engine)
    first = erasures.order("person-17", by_subject=True, who="ada", now=1.0)
    assert erasures.order("person-17", by_subject=True, who="ada", now=2.0) == first
    assert not erasures.done(first, 1.0, now=3.0)  # what came between would stay
    assert erasures.done(first, 2.0, now=3.0)
    assert [(one.name, one.done_at) for one in erasures.all()] == [("", 3.0)]
    assert erasures.order("person-17", by_subject=True, who="ada", now=4.0) != first
