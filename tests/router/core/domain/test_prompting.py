from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.generation import Prompt
from router.core.domain.prompting import as_conversation, split_answer
from router.core.domain.query import Message

PHRASE = "the answer is"
WORDS = st.text(st.sampled_from("aeis thnrwİßŉǰ\u0130ΐ.\n")).filter(lambda text: PHRASE not in text.casefold())


@given(before=WORDS, after=WORDS, spelt=st.sampled_from([PHRASE, PHRASE.upper(), PHRASE.title()]))
def test_what_stands_before_and_after_the_phrase_is_never_cut(before, after, spelt):
    assert split_answer(f"{before}|{spelt}|{after}", PHRASE) == (
        f"{before}|".strip(),
        f"|{after}".strip().rstrip(".").strip(),
    )


def test_letters_that_grow_in_lower_case_move_no_cut():
    assert split_answer("İİİİ it is dark. The answer is on.", PHRASE) == ("İİİİ it is dark.", "on")


def test_the_last_phrase_divides():
    assert split_answer("The answer is a. No, the answer is b.", PHRASE) == ("The answer is a. No,", "b")


@given(WORDS)
def test_without_the_phrase_all_is_answer(text):
    assert split_answer(text, PHRASE) == ("", text.strip().rstrip(".").strip())


def test_a_text_alone_is_one_turn_and_a_chat_stays_as_it_is():
    assert as_conversation(Prompt("hi")) == Prompt("hi", (Message("user", "hi"),))
    chat = Prompt("flat", (Message("system", "brief"),))
    assert as_conversation(chat) == chat
