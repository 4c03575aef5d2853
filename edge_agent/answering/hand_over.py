"""How a worker says that a query is not for it."""


class HandOver(Exception):  # noqa: N818 - nothing went wrong
    """This query needs what the owner of the data folder alone has: the outbox, the next tier, the memory."""
