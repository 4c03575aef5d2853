"""What tests of the fleet share."""

import pytest

from cloud_worker.state.store import ReleaseRow, Store
from router.core.domain.task import Task


@pytest.fixture
def store(state_url):
    """A state with the task ``home`` and its first release."""
    store = Store(state_url)
    store.declare_tasks([Task("home", reference="big")])
    store.add_release(ReleaseRow("home", 0, "champion", "ab" * 32, 1.0))
    store.promote("home", 0, "ab" * 32)
    return store
