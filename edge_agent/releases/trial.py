"""Try a release in a process of its own before it serves.

What a release holds is run by libraries in C++ and Rust: a file that was damaged or made to harm can end a process,
take all memory or never return. So it is opened, and asked its golden inputs, by a child first; the agent opens only
what its child came through.

Rules:
 * Whatever becomes of the child, the agent goes on; the release is refused with the reason.
 * The child has as much memory as the machine, and is the first to be ended when that runs out.
 * A student's server that can't be reached now refuses nothing: the release is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.tasks.slots import Slot, slot_in
from router.core.errors import HeadraceError, ReleaseError, UnavailableError
from router.core.release.manifest import MANIFEST_FILE
from router.students.loader import check_golden, open_student

TRIAL_SECONDS = 600.0
MOST_TOLD = 2000  # letters of a reason

_REFUSED, _LATER = "refused", "later"


async def try_release(slot: Slot, servers: Mapping[str, str], seconds: float = TRIAL_SECONDS) -> None:
    """Return when the release in a slot can be opened here and answers its golden inputs as it did where it was judged.

    Args:
        slot: Where the release lies, every file of it checked.
        servers: URL by model, for a student that is served.
        seconds: Most that it may take.

    Raises:
        ReleaseError: It can't, and why.
        UnavailableError: Its student's server can't be reached now.
        OSError: No process can be started now.
    """
    asked = json.dumps({"folder": str(slot.folder), "servers": dict(servers), "seconds": seconds}).encode()
    # -P: a file of the working folder must not stand in for a library.
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "edge_agent.releases.trial"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await child.communicate(asked)
    except TimeoutError:
        raise ReleaseError(f"its student was not through its golden inputs after {seconds:.0f} s") from None
    finally:
        await _end(child)
    _take(child.returncode, said)


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def _take(code: int | None, said: bytes) -> None:
    if code != 0:
        raise ReleaseError(f"its student ended the process that tried it ({_ending(code)})")
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    if told["verdict"] == _REFUSED:
        raise ReleaseError(told["why"])
    if told["verdict"] == _LATER:
        raise UnavailableError(told["why"])


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"{signal.Signals(-code).name}; too little memory ends it so too"
    except ValueError:
        return f"signal {-code}"


def main() -> None:
    """Try the release that standard input names, and say the verdict on standard output."""
    asked = json.load(sys.stdin)
    _bound(asked["seconds"])
    verdict, why = _verdict(Path(asked["folder"]), asked["servers"])
    sys.stdout.write("\n" + json.dumps({"verdict": verdict, "why": why[:MOST_TOLD]}) + "\n")
    sys.stdout.flush()
    os._exit(0)  # a student's threads may never end


def _verdict(folder: Path, servers: Mapping[str, str]) -> tuple[str, str]:
    manifest = slot_in(folder, (folder / MANIFEST_FILE).read_bytes(), "").manifest
    if manifest.student is None:
        return "fits", ""
    try:
        check_golden(folder, manifest, open_student(folder, manifest, servers))
    except UnavailableError as error:
        return _LATER, str(error)
    except HeadraceError as error:
        return _REFUSED, str(error)
    return "fits", ""


def _bound(seconds: float) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    processor_seconds = int(seconds) + 1  # also where the agent that would end it is gone
    for limit, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, processor_seconds)):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
