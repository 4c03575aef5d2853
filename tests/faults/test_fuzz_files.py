"""Every file that a daemon reads, spoilt one at a time: none ends with a traceback, none answers INTERNAL, and nothing
that was acknowledged and can still be read is lost: what is lost is told. None stalls for longer than a second.

HEADRACE_FUZZ_SECONDS is how long each daemon's files are spoilt, 4 by default; HEADRACE_FUZZ_SEED repeats it.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_worker.config.cloud import read_config
from edge_agent.config import load_config
from router.core.errors import ConfigError

pytestmark = pytest.mark.timeout(3600)

SECONDS = float(os.environ.get("HEADRACE_FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("HEADRACE_FUZZ_SEED", random.randrange(2**32)))
HERE = Path(__file__).parent
MOST_BYTES = 1_200 * 1024 * 1024  # of memory, of all that is loaded

# Runs a command and prints the most memory that it had, in kB. From here it would begin with what pytest has.
WEIGHED = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
print(os.wait4(pid, 0)[2].ru_maxrss)
"""


@pytest.mark.parametrize("script", ["edge_files.py", "cloud_files.py"])
def test_whatever_a_file_holds_no_daemon_ends_and_nothing_that_can_be_read_is_lost(script, tmp_path):
    print(f"HEADRACE_FUZZ_SEED={SEED}")
    command = [sys.executable, str(HERE / script), str(tmp_path / "world"), str(SEED), str(SECONDS)]
    done = subprocess.run([sys.executable, "-c", WEIGHED, *command], capture_output=True, text=True, check=False)
    *_, last, kilobytes = done.stdout.splitlines()
    assert last.startswith("{"), done.stderr[-3000:]
    said = json.loads(last)
    print({key: value for key, value in said.items() if key != "failures"})
    assert not said["failures"], "\n\n".join(said["failures"][:5])
    assert said["tries"] > 0
    assert int(kilobytes) * 1024 < MOST_BYTES


@pytest.mark.parametrize("read", [load_config, read_config])
@pytest.mark.parametrize(
    "content",
    [b"a = " + b"[" * 100_000, b"a = " + b"9" * 5_000, b"\xff", b"a = 1\n" * 2, b"data = 3", b"a = 2000-13-01", b"\0"],
    ids=["deep", "endless number", "no UTF-8", "twice", "no text", "no day", "zeros"],
)
def test_a_configuration_that_cannot_be_read_is_refused_in_one_line_that_names_the_file(read, content, tmp_path):
    path = tmp_path / "headrace.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
