#!/usr/bin/env python3
r"""The agent's updater as the client of the TUF conformance suite (github.com/theupdateframework/tuf-conformance).

    tuf_client.py --metadata-dir DIR init TRUSTED_ROOT
    tuf_client.py --metadata-dir DIR --metadata-url URL refresh
    tuf_client.py --metadata-dir DIR --metadata-url URL --target-name NAME --target-base-url URL --target-dir DIR \
        download

It is the agent's own code: its trust (``edge_agent.releases.trust``) over its mirror (``edge_agent.releases.sources``).
Only where things lie is the suite's. The exit code is 0 where all went well, else 1. In a clone of the suite,
`pytest tuf_conformance --entrypoint PATH` runs it; PATH is absolute.
"""

import argparse
import asyncio
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

SECONDS = 300.0
FIRST_ROOT = Path("root_history") / "first_root.json"  # below the metadata


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url", default="")
    parser.add_argument("--target-dir", type=Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("init").add_argument("trusted_root", type=Path)
    verbs.add_parser("refresh")
    verbs.add_parser("download")
    return parser.parse_args()


def init(asked):
    """Trust the first root; the suite looks for it among the metadata, too."""
    for position in (asked.metadata_dir / FIRST_ROOT, asked.metadata_dir / "root.json"):
        position.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(asked.trusted_root, position)


async def update(asked):
    """Refresh, and download what is named."""
    from edge_agent.releases.sources.mirror import MirrorSource
    from edge_agent.releases.trust.bridge import BridgedFetcher

    loop = asyncio.get_running_loop()
    source = MirrorSource(asked.metadata_url, asked.target_base_url)
    try:
        await asyncio.to_thread(work, asked, BridgedFetcher(source, loop, SECONDS))
    finally:
        await source.close()


def work(asked, fetcher):
    from edge_agent.releases.trust.repository import TrustedRepository

    first_root = (asked.metadata_dir / FIRST_ROOT).read_bytes()
    repository = TrustedRepository(asked.metadata_dir, asked.metadata_dir, first_root, fetcher)
    repository.refresh()
    for name in asked.target_name:
        repository.target(name, asked.target_dir / quote(name, ""))


def main():
    ours = ROOT / ".venv" / "bin" / "python"
    if importlib.util.find_spec("tuf") is None and ours.exists() and Path(sys.prefix) != ours.parent.parent:
        os.execv(ours, [str(ours), *sys.argv])  # by another Python than the project's own
    from router.core.errors import HeadraceError

    asked = arguments()
    try:
        if asked.verb == "init":
            init(asked)
        else:
            asyncio.run(update(asked))
    except (HeadraceError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
