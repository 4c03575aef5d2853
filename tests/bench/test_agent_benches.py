import numpy as np
import pytest

from bench.first_saving import Reference, bursts, life, repertoire
from bench.local_answer import GOALS, measured

TEXTS = [f"text {number}" for number in range(2000)]
LABELS = dict.fromkeys(TEXTS, "lights")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_local_answer_is_measured_beside_its_parts():
    figures = measured(40)
    assert set(GOALS) <= set(figures)
    assert all(figures[name] > 0 for name in GOALS)


@pytest.mark.parametrize("world", [repertoire, bursts])
def test_worlds_repeat_their_texts(world):
    asked = world(TEXTS, 1000, np.random.default_rng(0))
    assert len(asked) == 1000
    assert 200 < len(set(asked)) < 600


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_memory_saves_what_repeats():
    asked = repertoire(TEXTS, 1500, np.random.default_rng(0))
    without = await life(asked, Reference(LABELS, 0.0), 0.05, 0)
    remembered = await life(asked, Reference(LABELS, 0.0), 0.05, 10_000)
    assert without["net_saving_1000"] == 0 < remembered["net_saving_1000"]
