"""How long a client lives, and where: one process, and until it is closed.

Rules:
 * gRPC's threads don't survive ``fork``: a child whose parent has opened a client hears so, instead of hanging.
 * What a closed client is asked ends with an error that says so, questions under way included.
"""

from __future__ import annotations

import os
from typing import NoReturn

from router.core.errors import NotPossibleError

_opened_in: set[int] = set()  # ids of the processes, this one and those that it was forked from


class Lifetime:
    """The life of one client. Threads may share it.

    Attributes:
        closed: Whether it has ended.
    """

    def __init__(self, kind: str) -> None:
        """Begin it; ``kind`` is what messages call the client.

        Raises:
            NotPossibleError: A process that this one was forked from has opened a client.
        """
        self._kind, self._process = kind, os.getpid()
        self.closed = False
        if _opened_in - {self._process}:
            raise NotPossibleError(
                f"this process was forked from one that had a {kind} or another client, which gRPC does not survive;"
                ' start processes by spawn (multiprocessing.set_start_method("spawn")), or fork before the first client'
            )
        _opened_in.add(self._process)

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a child that was forked after the client was made."""
        return self._process != os.getpid()

    def check(self) -> None:
        """Check that the client can be used here and now.

        Raises:
            NotPossibleError: It is closed, or this process was forked from the one that made it.
        """
        if self.is_elsewhere:
            raise NotPossibleError(
                f"this {self._kind} was made before a fork, which gRPC does not survive; start processes by spawn"
                ' (multiprocessing.set_start_method("spawn")), and make a client in each'
            )
        if self.closed:
            raise NotPossibleError(f"this {self._kind} is closed; make another")

    def refuse_pickle(self) -> NoReturn:
        """A client can't cross to another process.

        Raises:
            NotPossibleError: Always.
        """
        raise NotPossibleError(f"{self._kind} can't be pickled: it holds connections; make one in each process")
