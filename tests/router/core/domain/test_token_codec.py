import contextlib
import math

from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.query import Distribution, TokenProbability
from router.core.domain.token_codec import MOST_ALTERNATIVES, MOST_BYTES, MOST_TEXT_BYTES, pack, unpack

log_probabilities = st.floats(-80, 0)
texts = st.text(max_size=80)
tokens = st.builds(
    TokenProbability,
    texts,
    log_probabilities,
    st.builds(
        Distribution,
        st.lists(st.tuples(texts, log_probabilities), max_size=9).map(tuple),
        st.none() | log_probabilities,
    ),
)


def near(one, other):
    return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-6)


@given(st.lists(tokens, max_size=5))
def test_tokens_come_back_within_their_bytes(given_tokens):
    data = pack(given_tokens)
    assert len(data) <= MOST_BYTES * len(given_tokens)
    back = unpack(data)
    assert len(back) == len(given_tokens)
    for one, other in zip(given_tokens, back, strict=True):
        assert near(one.log_probability, other.log_probability)
        assert one.token.startswith(other.token)
        assert one.token == other.token or len(one.token.encode()) > MOST_TEXT_BYTES
        assert len(other.alternatives.top) == min(len(one.alternatives.top), MOST_ALTERNATIVES)


def test_what_is_cut_off_goes_into_the_tail():
    top = tuple((str(position), math.log(0.1)) for position in range(8))
    token = TokenProbability("a", -0.1, Distribution(top, math.log(0.2)))
    (back,) = unpack(pack([token]))
    assert near(back.alternatives.tail, math.log(0.5))


def test_a_whole_distribution_has_no_tail():
    (back,) = unpack(pack([TokenProbability("a", 0.0, Distribution((("a", 0.0),), None))]))
    assert back.alternatives.tail is None


@given(st.lists(tokens, max_size=3), st.data())
def test_bytes_that_a_disk_has_spoilt_are_refused_with_one_kind_of_error(given_tokens, data):
    spoilt = bytearray(pack(given_tokens))
    if spoilt:
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        unpack(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))]))
