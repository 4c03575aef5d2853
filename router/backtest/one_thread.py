"""One thread for linear algebra: many small steps lose more by waiting for threads than few large ones gain."""

from __future__ import annotations

from threadpoolctl import threadpool_limits


def one_thread() -> threadpool_limits:
    """The limit, from now on or for a ``with`` block.

    A limit holds for the libraries that are loaded by then, and scipy brings its own: it is loaded first. Where it came
    after the limit, two threads that wait for each other took four fifths of a replay's time.
    """
    import scipy.optimize  # noqa: F401 - what calibrates loads it later: half a second of CPU

    return threadpool_limits(1)
