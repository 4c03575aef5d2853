"""What an agent keeps on its disk: tasks and releases, orders, what is spent of its limits, the outbox."""

from __future__ import annotations

from edge_agent.config import Config, OutboxSettings
from edge_agent.outbox.bounds import DAY_SECONDS, Bounds, WhenFull
from edge_agent.outbox.store import Outbox
from edge_agent.tasks.all_tasks import Tasks
from edge_agent.tasks.orders import load_orders
from edge_agent.tasks.quota_store import QuotaStore, load_spent


class KeptState:
    """The files in which one agent keeps its state.

    Attributes:
        tasks: What is served, by orders and releases.
        quota_store: Writes what is spent of the limits.
        outbox: What the cloud has yet to be told.
        orders_file: Where the orders lie.
    """

    def __init__(self, config: Config) -> None:
        """Open what lies in the data folder.

        Raises:
            StartError: Something can't be opened.
        """
        data = config.data
        self.orders_file = data / "standing.json"
        spent_file = data / "spent.json"
        self.tasks = Tasks(data / "tasks", load_orders(self.orders_file), config.server_urls, load_spent(spent_file))
        self.quota_store = QuotaStore(spent_file, self.tasks)
        self.outbox = Outbox(data / "outbox.sqlite", _bounds(config.outbox))


def _bounds(settings: OutboxSettings) -> Bounds:
    age, when_full = settings.max_age_days * DAY_SECONDS, WhenFull(settings.when_full)
    return Bounds(settings.max_rows, settings.max_bytes, age, when_full)
