"""The draw: it knows the seed and the id, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from router.core.policy.exploration import SEED_BYTES, draw, is_explored

SEEDS = st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES)
IDS = st.text(max_size=64)
RATES = st.floats(0, 1)


@given(seed=SEEDS, query_id=IDS, lower=RATES, higher=RATES)
def test_a_query_drawn_at_one_rate_is_drawn_at_every_higher_rate(seed, query_id, lower, higher):
    lower, higher = sorted((lower, higher))
    if is_explored(seed, query_id, lower):
        assert is_explored(seed, query_id, higher)


@given(seed=SEEDS, query_id=IDS)
def test_rate_zero_draws_nothing_and_rate_one_everything(seed, query_id):
    assert not is_explored(seed, query_id, 0.0)
    assert is_explored(seed, query_id, 1.0)


@given(seed=SEEDS, query_id=IDS)
def test_the_draw_is_a_keyed_hash_of_the_id_alone(seed, query_id):
    digest = hmac.new(seed, query_id.encode(), hashlib.sha256).digest()
    assert draw(seed, query_id) == int.from_bytes(digest[:8], "big") / 2**64


def test_the_draw_is_the_same_on_every_machine_and_version():
    assert draw(bytes(SEED_BYTES), "query-1") == 0.29653091003961796


def test_about_the_rate_is_drawn_and_devices_draw_differently():
    ids = [f"q{number}" for number in range(20_000)]
    one = {query_id for query_id in ids if is_explored(b"a" * SEED_BYTES, query_id, 0.05)}
    other = {query_id for query_id in ids if is_explored(b"b" * SEED_BYTES, query_id, 0.05)}
    assert abs(len(one) - 1000) < 130  # 4 standard deviations
    assert len(one & other) < 100
