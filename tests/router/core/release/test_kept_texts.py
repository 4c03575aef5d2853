import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.release.kept_texts import KeptTexts, number_of_text

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=8)


def test_texts_are_alike_by_their_words():
    kept = KeptTexts.of(["Turn on the lamp!", "what time is it"])
    assert len(kept) == 2
    assert "turn on   the LAMP" in kept
    assert "What time is it?" in kept
    assert "turn off the lamp" not in kept
    assert "" not in kept


def test_none_are_none():
    assert len(KeptTexts.of([])) == 0
    assert "lamp" not in KeptTexts.of([])
    assert len(KeptTexts.read(b"")) == 0


@given(WORDS, WORDS, WORDS)
def test_they_are_a_set(texts, asked, gone):
    kept = KeptTexts.of(texts)
    assert [text in kept for text in asked] == [text in set(texts) for text in asked]
    assert kept.among(np.array([number_of_text(text) for text in asked], np.int64)).tolist() == [
        text in set(texts) for text in asked
    ]
    left = kept.without({number_of_text(text) for text in gone})
    assert left.numbers.tolist() == KeptTexts.of(set(texts) - set(gone)).numbers.tolist()


@given(WORDS)
def test_a_file_holds_them(texts):
    kept = KeptTexts.of(texts)
    assert KeptTexts.read(kept.to_bytes()).numbers.tolist() == kept.numbers.tolist()
    assert len(kept.to_bytes()) == 8 * len(set(texts))


@pytest.mark.parametrize("spoilt", [b"1234567", np.array([2, 1]).tobytes(), np.array([1, 1]).tobytes()])
def test_what_is_no_list_of_texts_is_refused(spoilt):
    with pytest.raises(ValueError, match=r"not sorted|multiple of element size"):
        KeptTexts.read(spoilt)
