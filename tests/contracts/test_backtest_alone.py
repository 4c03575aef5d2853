"""A backtest runs where neither Ray nor torch can be imported, and costs nothing to those who don't ask for it."""

import json
import subprocess
import sys

import pytest

from router.io.extras import advice

FORBIDDEN = ("ray", "torch", "transformers", "cloud_worker", "edge_agent", "demo", "deltalake", "onnx")

ALONE = f"""
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN!r}:
            raise ImportError(name + " may not be imported")

sys.meta_path.insert(0, Refusing())
from router.cli import app
app(sys.argv[1:])
"""

CLIENT_ONLY = """
import importlib.util, sys
absent = {"sklearn", "scipy", "matplotlib", "pyarrow", "onnxruntime", "tokenizers", "threadpoolctl"}
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] in absent else find(name, package)
for name in absent:
    sys.modules[name] = None
from router.cli import app
app(sys.argv[1:])
"""


@pytest.fixture
def log(tmp_path):
    words = {"lights": ["lamp", "bulb", "glow"], "music": ["song", "tune", "album"]}
    rows = [
        {"text": f"{words[answer][position % 3]} {position % 7} please {words[answer][position % 2]}", "answer": answer}
        for position in range(300)
        for answer in [("lights", "music")[position % 2]]
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_backtest_needs_neither_ray_nor_torch(log, tmp_path):
    done = run(ALONE, "backtest", log, "--json", "--picture", tmp_path / "p.png")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["queries"] == 300


def test_the_client_alone_says_what_to_install(log):
    done = run(CLIENT_ONLY, "backtest", log)
    assert done.returncode == 81
    assert advice("backtest") in done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("backtest", "--help")])
def test_the_client_alone_shows_its_help(arguments):
    done = run(CLIENT_ONLY, *arguments)
    assert done.returncode == 0, done.stderr
    assert "backtest" in done.stdout
