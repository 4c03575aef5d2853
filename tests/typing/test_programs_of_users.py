"""What a type checker says to programs of users: right ones pass, wrong ones are refused where they are wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
REFUSED = re.compile(r"# refused: ([a-z-]+)$")
SAID = re.compile(r"^\S*?(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def checked(path):
    """What mypy says of a file, as its users would run it: strictly, and with what the packages tell of their types."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.timeout(600)
def test_right_programs_pass():
    done = checked(HERE / "right.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_wrong_programs_are_refused_at_the_wrong_line():
    lines = (HERE / "wrong.py").read_text().splitlines()
    wanted = {(number, found[1]) for number, line in enumerate(lines, 1) if (found := REFUSED.search(line))}
    done = checked(HERE / "wrong.py")
    said = {(int(line), code) for name, line, code in SAID.findall(done.stdout) if name == "wrong.py"}
    assert said == wanted, done.stdout
    assert len(wanted) >= 15
