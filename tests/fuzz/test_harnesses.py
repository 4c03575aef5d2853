"""Each harness for a moment, with bytes of any kind and bytes that were once good."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("harnesses", HERE / "harnesses.py")
harnesses = importlib.util.module_from_spec(_spec)
sys.modules["harnesses"] = harnesses
_spec.loader.exec_module(harnesses)


def spoilt(seed, position, length, piece):
    """A seed with some of its bytes replaced by others."""
    position %= len(seed) + 1
    return seed[:position] + piece + seed[position + length :]


def bytes_for(name):
    seeds = st.sampled_from(harnesses.HARNESSES[name].seeds)
    near = st.builds(spoilt, seeds, st.integers(0, 4096), st.integers(0, 20), st.binary(max_size=20))
    return near | near | st.binary(max_size=300)


@pytest.mark.parametrize("name", harnesses.HARNESSES)
def test_the_first_seed_is_read_to_its_end(name):
    harness = harnesses.HARNESSES[name]
    harness.read(harness.seeds[0])


@pytest.mark.parametrize("name", harnesses.HARNESSES)
def test_whatever_the_bytes_it_ends_well_or_by_an_error_of_ours(name):
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(bytes_for(name))
    def read(data):
        harnesses.run(name, data)

    read()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", harnesses.HARNESSES)
def test_it_is_fuzzed_led_by_what_the_bytes_reach(name, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: the dependency group `fuzz` has it")
    command = [sys.executable, HERE / "guided.py", name, "--seconds", "10", "--crashes", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout[-1000:])
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout.splitlines()[-1])["executions"] > 0
