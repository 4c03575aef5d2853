"""Which texts were asked by when, and what the drawn ones say of those to come."""

import numpy as np

from router.core.refresh.asked_texts import LATEST, AskedTexts
from router.core.statistics.likeness import likeness


def taken(record, texts, devices=(), batch=0, asked=None):
    asked = asked or AskedTexts()
    for position, text in enumerate(texts):
        caller = f"device-{devices[position]}" if len(devices) else "device-0"
        asked.take(batch, record(position, f"text {text}", "lights", caller=caller), is_drawn=True)
    return asked


def numbers(*texts):
    return sorted(likeness(f"text {text}", "", "")[0] for text in texts)


def test_a_text_is_known_from_its_first_batch_on(record):
    asked = taken(record, [1, 2, 1])
    taken(record, [2, 3], batch=4, asked=asked)
    assert asked.until(-1).tolist() == []
    assert asked.until(3).tolist() == numbers(1, 2)
    taken(record, range(5_000), batch=5, asked=asked)
    assert asked.until(3).tolist() == numbers(1, 2)
    assert asked.until(4).tolist() == numbers(1, 2, 3)
    assert len(asked.until(5)) == 5_000


def test_of_rows_that_were_not_drawn_only_the_texts_are_known(record):
    asked = AskedTexts()
    for position in range(200):
        asked.take(0, record(position, f"text {position % 3}", "lights"), is_drawn=False)
    assert len(asked.until(0)) == 3
    assert not asked.repertoire.stays


def test_what_devices_ask_in_a_row_says_nothing_of_how_long_a_text_lives(record):
    random = np.random.default_rng(0)
    devices, texts = random.integers(10, size=6_000), np.empty(6_000, int)
    for device in range(10):
        mine = np.flatnonzero(devices == device)
        texts[mine] = np.repeat(random.integers(100, size=len(mine)), 5)[: len(mine)]
    assert taken(record, texts, devices).repertoire.stays
    assert not taken(record, texts).repertoire.stays  # as if one had asked them all: their runs are mixed


def test_a_repertoire_that_moved_on_long_ago_is_forgotten(record):
    random = np.random.default_rng(0)
    asked = taken(record, np.arange(1_500) // 8 + random.integers(40, size=1_500))
    assert not asked.repertoire.stays
    taken(record, random.integers(1_000, 1_100, size=LATEST + 500), asked=asked)
    assert asked.repertoire.stays


def test_a_device_that_is_forgotten_says_nothing_any_more(record):
    random = np.random.default_rng(0)
    moves = np.arange(1_200) // 8 + random.integers(40, size=1_200)
    texts = np.where(np.arange(1_200) % 2, 500 + random.integers(20, size=1_200), moves)
    asked = taken(record, texts, np.arange(1_200) % 2)
    assert not asked.repertoire.stays
    asked.forget("device-0")
    assert asked.repertoire.stays
