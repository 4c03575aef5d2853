"""What a process that runs for weeks keeps of what its threads freed."""

import ctypes
import subprocess
import sys

import pytest

# Threads that are all there at once take memory; malloc_info(3) tells the arenas that glibc made for them.
ARENAS = """
import ctypes, sys, threading
from cloud_worker.running.process_memory import keep_memory_low
if sys.argv[1] == "low":
    keep_memory_low()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(12)
def take():
    together.wait()
    libc.malloc(ctypes.c_size_t(1000))
    together.wait()
threads = [threading.Thread(target=take) for _ in range(12)]
[one.start() for one in threads]
[one.join() for one in threads]
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="tells of glibc's memory alone")
def test_threads_share_two_arenas():
    """Else each has one of its own, and what they free lies scattered."""

    def arenas(how):
        done = subprocess.run([sys.executable, "-c", ARENAS, how], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.count("<heap nr=")

    assert arenas("as-it-is") > 2
    assert arenas("low") <= 2
