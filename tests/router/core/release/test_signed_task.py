"""What the offline key signs of a task holds for every release of it."""

from dataclasses import replace

import pytest

from router.core.domain.task import Exploration, Judge, Objective, Task
from router.core.errors import ReleaseError
from router.core.policy.deferral import Policy
from router.core.release.manifest import Manifest
from router.core.release.signed_task import check_signed_task, read_signed_task, write_signed_task

TASK = Task("home", reference="teacher", labels=("lights", "music"), student="compact", options={"folds": 3})
CHANGES = {
    "version": 2,
    "judge": Judge.NORMALISED_TEXT,
    "reference": "another",
    "labels": ("lights", "locks"),
    "objective": Objective(max_disagreement=0.5),
    "exploration": Exploration(floor=0.0),
    "log_by_default": False,
    "local_only": True,
    "max_text_bytes": 10**6,
    "prompt": "{text}!",
}


def release_of(task):
    return Manifest(task, 3, 0.0, Policy(0.5))


def test_a_signed_task_comes_back_as_it_was_but_for_how_its_students_are_made():
    assert read_signed_task(write_signed_task(TASK)) == replace(TASK, options={})


@pytest.mark.parametrize("field", CHANGES)
def test_a_release_whose_task_differs_from_the_signed_one_is_refused_and_the_field_named(field):
    signed = read_signed_task(write_signed_task(TASK))
    check_signed_task(release_of(TASK), signed)
    with pytest.raises(ReleaseError, match=field):
        check_signed_task(release_of(replace(TASK, **{field: CHANGES[field]})), signed)


@pytest.mark.parametrize("change", [{"recipe": "other"}, {"labels": ("music",)}, {"student": "encoder-head"}])
def test_what_may_change_without_the_offline_key_is_let_be(change):
    check_signed_task(release_of(replace(TASK, **change)), read_signed_task(write_signed_task(TASK)))


def test_labels_are_free_where_none_were_signed():
    signed = read_signed_task(write_signed_task(replace(TASK, labels=())))
    check_signed_task(release_of(TASK), signed)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"name": "x", "reference": "y", "max_text_bytes": 0}'])
def test_what_is_no_task_is_refused(data):
    with pytest.raises(ReleaseError, match="signed task"):
        read_signed_task(data)
