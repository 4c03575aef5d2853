"""How long somebody waited for a daemon on a machine that others use too: time that the machine kept them in its queue
for a processor is no fault of the daemon's, and is taken off.

python waits.py TARGET PID TEXT      asks the daemon honestly all along, and prints a JSON line for each answer; ends
                                     when standard input does
"""

import json
import select
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

NANOSECONDS = 1e9
LONGEST_SECONDS = 1.0  # that a daemon may stall
PAUSE_SECONDS = 0.05


def queued(pid):
    """Seconds that each thread of a process has waited for a processor (proc(5), schedstat)."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[folder.name] = int((folder / "schedstat").read_text().split()[1]) / NANOSECONDS
        except (OSError, IndexError):  # it has ended
            continue
    return found


def longest_queued(before, after):
    """The most that one thread has waited in between: threads wait side by side."""
    return max((now - before.get(thread, 0.0) for thread, now in after.items()), default=0.0)


class Stopwatch:
    """Seconds, and those that are the daemon's: without what its threads or ours waited for a processor."""

    def __init__(self, *pids):
        self._pids = pids or ("self",)
        self._began, self._queued = time.monotonic(), [queued(pid) for pid in self._pids]

    def read(self):
        seconds = time.monotonic() - self._began
        lost = sum(longest_queued(old, queued(pid)) for pid, old in zip(self._pids, self._queued, strict=True))
        return seconds, max(0.0, seconds - lost)


class Pulse:
    """The longest time for which an event loop ran nothing else, in seconds that are its own."""

    def __init__(self):
        self.longest = 0.0

    async def beat(self):
        """Until it is cancelled."""
        import asyncio

        thread = str(threading.get_native_id())
        while True:
            before, began = queued("self").get(thread, 0.0), time.monotonic()
            await asyncio.sleep(PAUSE_SECONDS)
            late = time.monotonic() - began - PAUSE_SECONDS
            self.longest = max(self.longest, late - (queued("self").get(thread, 0.0) - before))


class Beats:
    """What ``waits.py`` has printed so far, as it goes on."""

    def __init__(self, process):
        self.answers = []
        self._process = process
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            self.answers.append(json.loads(line))

    def end(self):
        """No more of them; what was asked is waited for."""
        if not self._process.stdin.closed:
            self._process.stdin.close()
        self._thread.join()
        self._process.wait()


@contextmanager
def beats(target, pid, text):
    """Ask a daemon honestly all along, from a process of its own."""
    command = [sys.executable, __file__, target, str(pid), text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asking = Beats(process)
        try:
            yield asking
        finally:
            asking.end()


def main(target, pid, text):
    from router import Client, HeadraceError

    with Client(target, insecure=True, device="honest", deadline=60.0) as client:
        while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            watch, said = Stopwatch("self", pid), {"query_id": uuid.uuid4().hex}
            try:
                answer = client.ask(text, "home", query_id=said["query_id"])
                said |= {"text": answer.text, "logged": answer.provenance.logged}
            except HeadraceError as error:
                said["error"] = repr(error)
            seconds, own = watch.read()
            print(json.dumps(said | {"at": time.monotonic(), "seconds": seconds, "own_seconds": own}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
