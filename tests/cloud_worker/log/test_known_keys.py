"""The keys that the log holds: exact, compact, and read again once they were let go."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_worker.log.known_keys import KeySet, KnownKeys, digest_of

KEYS = st.lists(st.integers(0, 60), max_size=80)


def digest(number):
    return digest_of(("kitchen", f"q{number}", "v1"))


@given(before=KEYS, added=KEYS)
def test_what_was_read_or_added_is_known_and_nothing_else(before, added):
    known = KeySet([b"".join(map(digest, before))])
    for number in added:
        known.add(digest(number))
    assert [number for number in range(61) if digest(number) in known] == sorted({*before, *added})
    assert len(known) == len({*before, *added})


@pytest.mark.parametrize("end", [b"\0", b"\0\0\0", b"a\0"])
def test_digests_that_end_in_zeros_are_told_apart(end):
    one, other = b"x" * (16 - len(end)) + end, b"x" * 16
    assert one in KeySet([one]) and other not in KeySet([one])


def test_keys_stay_known_when_those_that_wait_are_merged():
    known = KeySet()
    for number in range(70_000):
        known.add(digest(number))
    assert len(known) == 70_000
    assert all(digest(number) in known for number in range(0, 70_000, 777))
    assert digest(70_000) not in known


def test_a_key_takes_sixteen_bytes():
    joined = b"".join(digest(number) for number in range(50_000))
    tracemalloc.start()
    known = KeySet([joined])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(known) == 50_000 and held < 20 * 50_000


def test_keys_that_are_added_take_no_more_than_read_ones():
    digests = [digest(number) for number in range(60_000)]
    tracemalloc.start()
    known = KeySet()
    for one in digests:
        known.add(bytes(bytearray(one)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(known) == 60_000 and held < 24 * 60_000


def test_what_was_used_longest_ago_is_let_go_and_read_again():
    asked = []

    def read(partition):
        asked.append(partition)
        yield b"".join(digest(f"{partition}-{number}") for number in range(10))

    known = KnownKeys(read, most=25)
    for day in ("1", "2", "3", "1"):
        assert digest(f"{('home', day)}-3") in known.of(("home", day))
    assert asked == [("home", "1"), ("home", "2"), ("home", "3"), ("home", "1")]
    assert len(known) <= 25
