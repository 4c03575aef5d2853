"""Do devices in another network than the cloud's save as much, and hold the promise as well, as on loopback?

The demo runs twice on the same stream: all on loopback in plain text; then with the cloud in one network namespace and
three enrolled devices in another, joined by a virtual cable, with certificates on both sides and signed releases.

    make two-networks                                                  # Linux, as root
    sudo PYTHONPATH=. .venv/bin/python bench/two_networks.py --limit 3000
    sudo PYTHONPATH=. .venv/bin/python bench/two_networks.py --stream asked.jsonl

Without ``--stream`` the demo's own commands are asked. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLOUD, DEVICES = "10.77.0.1", "10.77.0.2"
TOLD = ("queries", "lost", "local_share_last_quarter", "cloud_share_last_quarter", "disagreement", "covered_share")


def main() -> None:
    """Run both, and print what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stream", type=Path, help="JSON lines {text, label}; the labels are the cloud's answers")
    parser.add_argument("--limit", type=int, default=0, help="most queries, 0 for all")
    parser.add_argument("--agents", type=int, default=3, help="devices")
    options = parser.parse_args()
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter"))):
        print(json.dumps({"skipped": "network namespaces need Linux, root, and the commands ip and nsenter"}))
        return
    asked = ["--agents", str(options.agents), "--limit", str(options.limit), "--lockstep", "--no-ui"]
    if options.stream:
        asked += ["--stream", str(options.stream), "--teacher", "recorded"]
    with tempfile.TemporaryDirectory() as folder:
        loopback = _demo([], asked, Path(folder, "loopback"))
        print(f"on loopback:         {_words(loopback)}", flush=True)
        with _networks() as (cloud, devices):
            inside = ["nsenter", f"--net=/run/netns/{devices}"]
            secure = ["--secure", "--cloud-host", CLOUD, "--cloud-network", f"/run/netns/{cloud}"]
            apart = _demo(inside, [*asked, *secure], Path(folder, "apart"))
        print(f"in two networks:     {_words(apart)}", flush=True)
    print(json.dumps({"loopback": _told(loopback), "two_networks": _told(apart)}))


def _demo(inside: list[str], options: list[str], folder: Path) -> dict[str, Any]:
    command = [*inside, sys.executable, "-m", "demo", *options, "--run", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        for path in sorted(folder.glob("*.log")):
            print(f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise SystemExit(f"the demo ended with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def _networks() -> Iterator[tuple[str, str]]:
    """Names of two network namespaces, joined by a cable, each with a loopback of its own."""
    cloud, devices = (f"headrace-{side}-{os.getpid()}" for side in ("cloud", "devices"))
    try:
        for name in (cloud, devices):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "uplink", "netns", devices, "type", "veth", "peer", "name", "downlink", "netns", cloud)
        for name, link, address in ((cloud, "downlink", CLOUD), (devices, "uplink", DEVICES)):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", link)
            _ip("-n", name, "link", "set", link, "up")
        yield cloud, devices
    finally:
        for name in (cloud, devices):
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True)


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {name: figures.get(name) for name in TOLD}
    return told | {"by_release": figures["disagreement_by_release"]}


def _words(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in _told(figures).items())


if __name__ == "__main__":
    main()
