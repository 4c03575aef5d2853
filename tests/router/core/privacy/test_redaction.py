"""What is taken out of texts, what stays, and that no text takes long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.domain.query import Message, Query, ToolCall
from router.core.errors import NotPossibleError
from router.core.privacy.redaction import BUILT_IN, Redaction

ALL = Redaction(built_in=tuple(BUILT_IN))

FOUND = {
    "write to ada.lovelace+x@mail.example.org, now": "write to <mail>, now",
    "Jörg <jörg@bücher.example>": "Jörg <<mail>>",
    'from "ada lovelace"@example.org': "from <mail>",
    "ada＠example．org": "<mail>",
    "call +49 (0) 30 / 123 45-67 today": "call <phone> today",
    "call 0049 30 1234567": "call <phone>",
    "tel. 030-1234567": "tel. <phone>",
    "(415) 555-2671 or 415.555.2671": "<phone> or <phone>",
    "call +44\u00a020\u20117946\u20110958": "call <phone>",
    "رقم +٤٤٢٠٧٩٤٦٠٩٥٨": "رقم <phone>",
    "pay 4111 1111 1111 1111 at once": "pay <card> at once",
    "pay 4111-1111-1111-1111, order 12": "pay <card>, order 12",
    "3782 822463 10005": "<card>",
    "card 4111\u200b1111\u200b1111\u200b1111": "card <card>",
    "４１１１１１１１１１１１１１１１": "<card>",
    "order 17 4111 1111 1111 1111 12/27": "order 17 <card> 12/27",
    "to DE89 3704 0044 0532 0130 00 please": "to <iban> please",
    "to de89370400440532013000": "to <iban>",
    "GB82-WEST-1234-5698-7654-32": "<iban>",
    "NO93 8601 1117 947": "<iban>",
    "host 192.168.1.17:8080": "host <ip>:8080",
    "ping fe80::1%eth0, or 2001:db8:0:0:8:800:200c:417a.": "ping <ip>, or <ip>.",
    "[::ffff:10.0.0.1]:80": "[<ip>]:80",
    "use sk-abcdefghijklmnop1234": "use <key>",
    "AKIAIOSFODNN7EXAMPLE": "<key>",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": "<key>",
    "api_key = 'hunter2hunter2'": "api_key = '<key>'",
    "password: correcthorse": "password: <key>",
    "Authorization: Bearer abc.def-ghi_jkl~mno": "Authorization: Bearer <key>",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl": "<key>",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08": "<key>",
    "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- bye": "<key> bye",
}
STAYS = (
    "turn the heating down to 21.5 degrees",
    "on 2026-11-29 at 12:30:45, or 01.02.2026 12:30",
    "order 4111 1111 1111 1112",  # no check digit
    "DE88 1704 1144 1532 1130 12",  # no checksum
    "version 1.2.3, pi is 3.14159265358979",
    "0.123456789 of it",
    "600 pages, 1,000,000 words, 12 345 678 people",
    "std::vector<int>, x@y, a @ b.example",
    "550e8400-e29b-41d4-a716-446655440000",
    "the token of love: none",
    "1.2.3.4.5 and 256.1.1.1",
    "AB12 ok",
)


@pytest.mark.parametrize("text", FOUND)
def test_what_names_a_person_is_replaced_by_its_kind(text):
    assert ALL.of_text(text) == FOUND[text]


@pytest.mark.parametrize("text", STAYS)
def test_other_texts_stay_as_they_are(text):
    assert ALL.of_text(text) == text


def test_only_what_is_wished_is_taken_out():
    assert Redaction(built_in=("mail",)).of_text("a@b.example 10.0.0.1") == "<mail> 10.0.0.1"
    assert not Redaction()


PARTS = st.sampled_from(
    [
        *FOUND,
        *STAYS,
        " ",
        "-",
        ".",
        "+",
        "0",
        "00",
        "@",
        ":",
        "::",
        "<mail>",
        "<phone>",
        "1",
        "415",
        "4111",
        "a",
        "\u200b",
    ]
)


@given(st.lists(PARTS | st.text(max_size=6) | st.from_regex(r"[0-9 +().-]{1,30}", fullmatch=True), max_size=8))
def test_redacting_again_changes_nothing(parts):
    once = ALL.of_text("".join(parts))
    assert ALL.of_text(once) == once


@given(st.text())
def test_what_holds_no_finds_stays_and_order_of_names_does_not_matter(text):
    turned = Redaction(built_in=tuple(reversed(tuple(BUILT_IN))))
    assert turned.of_text(text) == ALL.of_text(text)


LONG = (
    *(
        "a",
        "0",
        "1 ",
        "4 ",
        "@",
        "a@",
        "a.",
        "a@a.",
        ":",
        "::",
        "1:",
        "1.",
        "sk-",
        "eyJ",
        "eyJaaaaaaaa.",
        "AD12",
        "DE89 ",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "token:",
        "token=a",
        '"a',
        '"@',
        "+1 ",
        "(1",
        "0 1",
        "00 1",
        "4111 ",
        "é",
        "\u200b",
        "1\u200b",
    ),
    *(
        "password  :  ",
        "bearer ",
        "bearer a",
        "٤ ",
        "fe80::1 ",
        "..",
        "--",
        "a-",
        "A1",
        "+",
        "01 ",
        "1-",
        "ghp_a",
        "\u0301@",
    ),
)


@pytest.mark.parametrize("part", LONG)
def test_no_text_takes_long(part):
    long = part * (65_536 // len(part))
    began = time.process_time()
    ALL.of_text(long)
    assert time.process_time() - began < 5.0  # of what grows with the square there would be minutes


def test_chats_are_redacted_with_the_arguments_of_their_calls():
    call = ToolCall("send", '{"to": "a@b.example"}')
    query = Query("1", "home", messages=(Message("user", "I am a@b.example", (call,)),))
    redacted = ALL.of_query(query).messages[0]
    assert (redacted.content, redacted.tool_calls[0].arguments) == ("I am <mail>", '{"to": "<mail>"}')


def test_a_redactor_of_ones_own_goes_first_and_lets_nothing_through_when_it_fails():
    own = Redaction((("badge", lambda text: [(0, 4), (2, 999), (5, 3)]),), ("mail",))
    assert own.of_text("a@b.example") == "<badge>"

    def fails(text):
        raise ValueError(text)

    with pytest.raises(NotPossibleError) as error:
        Redaction((("badge", fails),)).of_text("secret")
    assert "secret" not in str(error.value)
