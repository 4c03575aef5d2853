"""A text counts as read where the model's tokens hold all of it: at the limit, in every script, in one long word."""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from cloud_worker.language.encoder import Encoder
from router.students.onnx_student import Tokens

KNOWN = ["[UNK]", "[CLS]", "[SEP]", "turn", "it", "on", "a", "##a"]
MOST = 8


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(models.WordPiece({word: position for position, word in enumerate(KNOWN)}, unk_token="[UNK]"))
    made.pre_tokenizer, made.normalizer = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return made


@pytest.fixture(scope="module")
def device(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("student") / "tokenizer.json"
    path.write_text(tokenizer.to_str())
    return Tokens(path, MOST)


@pytest.fixture(scope="module")
def cloud(tokenizer):
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    return Encoder(None, fast, 1, MOST, "v")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("turn it on turn it on", False),
        ("turn it on turn it on it", True),
        ("turn it on" + " \n" * 300, False),
        ("turn it on" + "\u200b" * 300, False),
        ("\u5f00" * 6, False),
        ("\u5f00" * 7, True),
        ("turn it on \U0001f600\U0001f600", False),
        ("turn it on [SEP] [SEP] [SEP]", True),
        ("turn it on " + "a" * 99, True),
        ("turn it on " + "x" * 30, False),
        ("turn it on " + "x" * 101, True),
        ("turn it on " + "\u0e44\u0e21\u0e48\u0e43\u0e0a\u0e48" * 8, True),
        ("turn it on " + "\u043d\u0435\u0442" * 40, True),
    ],
)
def test_device_and_cloud_agree_on_what_was_read(device, cloud, text, cut):
    assert (device.of(text).cut, cloud.cuts(text)) == (cut, cut)
