"""The memory of processes that run for weeks: what nothing uses any more goes back to the system.

glibc keeps what threads free in arenas, up to eight for each core, and as it meets larger blocks it gives fewer of them
back at once. A library with threads of its own, as that of the log, scatters its blocks over all arenas, and a process
grows with the files that it reads (mallopt(3): M_ARENA_MAX, M_MMAP_THRESHOLD).
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # of mallopt
_ARENAS = 2
_MAPPED_BYTES = 128 * 1024  # what glibc begins with: once set, it does not grow


def keep_memory_low() -> None:
    """Hold what is freed together, in few arenas, and give larger blocks back at once; before threads allocate."""
    option = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if option is not None:
        option(_ARENA_MAX, _ARENAS)
        option(_MMAP_THRESHOLD, _MAPPED_BYTES)


def give_back_memory() -> None:
    """Let the system have what reading and writing took and nothing uses any more; Arrow and glibc keep it else."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)
