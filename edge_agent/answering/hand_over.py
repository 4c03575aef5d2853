"""Raised where a worker can't answer a query alone: its owner answers it then."""


class HandOver(Exception):  # noqa: N818 - nothing went wrong
    """This query needs what the owner of the data folder alone has: the outbox, the next tier, the memory."""
