"""Fuzz one harness, led by what its bytes reach: `python tests/fuzz/guided.py NAME --seconds 60`.

The last line of stdout is one JSON object. Crashes are written as files `crash-*` into the folder that --crashes names.
Needs atheris (dependency group `fuzz`); without it one line says so, and nothing is run.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("router", "edge_agent", "cloud_worker", "tuf", "tomllib")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--list", action="store_true", help="print the names of all")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(harnesses().HARNESSES))
        return 0
    if importlib.util.find_spec("atheris") is None:
        print(json.dumps({"harness": asked.name, "skipped": "atheris is not installed: the group `fuzz` has it"}))
        return 0
    if asked.worker is not None:
        work(asked)
        return 0
    return supervise(asked)


def supervise(asked):
    """Run the fuzzer in a process of its own, and tell what it told."""
    asked.crashes.mkdir(parents=True, exist_ok=True)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory(dir=memory) as folder:
        options = ("--seconds", str(asked.seconds), "--crashes", str(asked.crashes), "--worker", corpus)
        done = subprocess.run(
            [sys.executable, __file__, asked.name, *options],
            env=os.environ | {"HEADRACE_FUZZ_FOLDER": folder},
            capture_output=True,
            text=True,
            errors="replace",
        )
        reached = re.findall(r"#(\d+)\s.*?cov: (\d+)", done.stderr)
        runs = re.search(r"Done (\d+) runs? in (\d+) second", done.stderr)
        said = {
            "harness": asked.name,
            "executions": int(runs[1]) if runs else int(reached[-1][0]) if reached else 0,
            "seconds": int(runs[2]) if runs else asked.seconds,
            "coverage": int(reached[-1][1]) if reached else 0,
            "crashed": done.returncode != 0,
        }
    if said["crashed"]:
        print(done.stdout[-2000:], done.stderr[-6000:], file=sys.stderr)
    print(json.dumps(said))
    return int(said["crashed"])


def harnesses():
    sys.path.insert(0, str(ROOT))
    spec = importlib.util.spec_from_file_location("harnesses", Path(__file__).with_name("harnesses.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["harnesses"] = module
    spec.loader.exec_module(module)
    return module


def work(asked):
    import atheris

    with atheris.instrument_imports(include=OURS):
        all_of_them = harnesses()
    harness = all_of_them.HARNESSES[asked.name]
    for number, seed in enumerate(harness.seeds):
        (asked.worker / f"seed-{number}").write_bytes(seed)
    words = asked.worker.with_suffix(".words")
    words.write_text("".join(f'"{word}"\n' for word in harness.words))
    options = (
        f"-max_total_time={asked.seconds}",
        f"-artifact_prefix={asked.crashes}/crash-{asked.name}-",
        "-timeout=20",
        "-rss_limit_mb=3000",
        "-max_len=16384",
        *([f"-dict={words}"] if harness.words else []),
    )
    atheris.Setup([sys.argv[0], *options, str(asked.worker)], lambda data: all_of_them.run(asked.name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
