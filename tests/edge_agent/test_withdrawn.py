"""A task that the cloud has withdrawn."""

import pytest

from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.orders import KeptOrders
from router.core.domain.task import Mode
from router.core.errors import UnknownTaskError
from router.core.release.orders import Order


def test_a_task_that_the_cloud_has_withdrawn_is_served_no_longer_and_comes_back_with_its_order(tmp_path):
    gone = Order("home", 0, "", 0.0, Mode.ESCALATE_ALL)
    tasks = Tasks(tmp_path / "tasks", KeptOrders(b"s" * 32, (gone,), heard=True))
    with pytest.raises(UnknownTaskError, match=r"no task 'home' any more; there are: none"):
        tasks.find("home")
    tasks.obey(KeptOrders(b"s" * 32, (Order("home", 1, "ab" * 32, 1.0),), heard=True))
    assert tasks.find("home")[0].name == "home"
