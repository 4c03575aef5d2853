"""The models of the workload ``tools``: made on the spot, side by side, and kept for the next time.

Rules:
 * What is kept belongs to one seed and one state of the code that makes it, the trainer's included; anything else is
   made anew.
 * A model is in its folder whole or not at all.
 * Whatever happens, no process that trains outlives the demo.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cloud_worker import language
from demo.configs import Models
from router.core.errors import StartError
from router.students.writers import transformers_loader as loading

KINDS = ("teacher", "base")
CACHE = Path("runs") / "cache"
_MADE_BY = (Path(__file__).parent, Path(language.__file__).parent, Path(loading.__file__))

Told = Callable[[str, float], None]


async def made(cache: Path, seed: int, told: Told) -> Models:
    """Teacher and base, from ``cache`` or made now.

    Args:
        cache: Folder for what is kept.
        seed: Of everything random.
        told: Called with ``teacher`` or ``base`` and the share done.

    Raises:
        StartError: A training ended with an error; says which.
    """
    folder = cache / f"tools-{_state()}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [kind for kind in KINDS if not (folder / kind).exists()]
    await asyncio.gather(*(_make(kind, folder / kind, seed, told) for kind in missing))
    return Models(folder / "teacher", folder / "base")


async def _make(kind: str, folder: Path, seed: int, told: Told) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{kind}-") as scratch:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "demo.tools.making",
            kind,
            f"{scratch}/model",
            str(seed),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            said = asyncio.create_task(_read(process.stderr))
            assert process.stdout is not None
            async for line in process.stdout:
                told(kind, float(line))
            if await process.wait():
                raise StartError(f"the {kind} can't be trained:\n{(await said)[-2000:]}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        _keep(Path(scratch) / "model", folder)


def _keep(made_now: Path, folder: Path) -> None:
    """Put a model where it belongs, unless another demo was faster."""
    try:
        made_now.rename(folder)
    except OSError:
        if not folder.exists():
            raise


async def _read(stream: asyncio.StreamReader | None) -> str:
    return (await stream.read()).decode(errors="replace") if stream is not None else ""


def _state(positions: Sequence[Path] = _MADE_BY) -> str:
    """A short digest of the files, there or in folders, that decide what is made."""
    digest = hashlib.sha256()
    for position in positions:
        for path in sorted(position.glob("*.*")) if position.is_dir() else [position]:
            if path.suffix in {".py", ".toml"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
