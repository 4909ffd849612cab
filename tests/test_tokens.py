"""Strings to token ids, and features of words to features of tokens."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from sklearn_mmfuse import FusionClassifier, ModalityColumnTransformer
from sklearn_mmfuse.preprocessing import TokenSequences, spread_over_tokens

transformers = pytest.importorskip("transformers")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "so", "very", "good", "bad", "##ly", "!"]
TEXTS = ["so very good", "badly !", ""]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import BertWordPieceTokenizer

    fast = BertWordPieceTokenizer({token: i for i, token in enumerate(VOCABULARY)})
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast._tokenizer, cls_token="[CLS]", sep_token="[SEP]",
        pad_token="[PAD]", unk_token="[UNK]",
    )  # fmt: skip


def test_ids_and_padding(tokenizer):
    tokens = TokenSequences(tokenizer).fit_transform(TEXTS)
    nan = np.nan
    expected = [[2, 4, 5, 6, 3], [2, 7, 8, 9, 3], [2, 3, nan, nan, nan]]
    np.testing.assert_array_equal(tokens[..., 0], expected)
    np.testing.assert_array_equal(
        TokenSequences(tokenizer).fit_transform(pd.DataFrame({"text": TEXTS})), tokens
    )
    cut = TokenSequences(tokenizer, max_length=3).fit_transform(TEXTS)
    assert cut.shape == (3, 3, 1)
    assert TokenSequences(tokenizer).fit(TEXTS).get_feature_names_out().tolist() == ["token"]


def test_words_of_tokens(tokenizer):
    encoder = TokenSequences(tokenizer).fit(TEXTS)
    positions = encoder.word_positions(TEXTS)
    assert [p.tolist() for p in positions] == [[-1, 0, 1, 2, -1], [-1, 0, 0, 1, -1], [-1, -1]]
    pitch = [np.array([[1.0], [2.0], [3.0]]), np.array([[4.0], [5.0]]), np.zeros((0, 1))]
    spread = spread_over_tokens(pitch, positions)[..., 0]
    nan = np.nan
    np.testing.assert_array_equal(spread, [[0, 1, 2, 3, 0], [0, 4, 4, 5, 0], [0, 0, nan, nan, nan]])
    with pytest.raises(ValueError, match=r"different numbers of features: \[1, 2\]"):
        spread_over_tokens([np.zeros((3, 2)), *pitch[1:]], positions)
    with pytest.raises(ValueError, match="Text 0 has at least 3 words, but 2 rows"):
        spread_over_tokens([pitch[0][:2], *pitch[1:]], positions)
    with pytest.raises(ValueError, match="2 sequences, but tokens of 3 texts"):
        spread_over_tokens(pitch[:2], positions)


def test_white_space_at_the_end_is_no_word():
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_)
    (positions,) = TokenSequences(fast).fit(["a"]).word_positions(["ab c "])
    assert positions.tolist() == [0, 0, 1, 1, -1]


def test_from_strings_to_a_prediction(tokenizer, tmp_path):
    from sklearn_mmfuse.nets import global_generator

    config = transformers.BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=8,
    )  # fmt: skip
    with global_generator(0):
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    words = rng.choice(["so", "very", "good", "bad"], size=(40, 3))
    texts = [" ".join(row) for row in words]
    encoder = TokenSequences(tokenizer).fit(texts)
    pitch = spread_over_tokens(rng.normal(size=(40, 3, 1)), encoder.word_positions(texts))
    frame = {"text": np.array(texts), "audio": pitch}
    y = (words == "good").any(axis=1)
    pipe = make_pipeline(
        ModalityColumnTransformer(
            [("text", clone(encoder), "text"), ("audio", "passthrough", "audio")]
        ),
        FusionClassifier(
            fusion="mag", pretrained=str(tmp_path), max_epochs=60, learning_rate=0.01,
            random_state=0,
        ),
    )  # fmt: skip
    assert pipe.fit(frame, y).score(frame, y) > 0.9


def test_bad_input(tokenizer, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="one string per sample; sample 1 is None"):
        TokenSequences(tokenizer).fit(["a", None])
    with pytest.raises(ValueError, match=r"got an array of shape \(2, 2\)"):
        TokenSequences(tokenizer).fit([["a", "b"], ["c", "d"]])
    with pytest.raises(ValueError, match=r"per word, \(n_words, d\); got one of shape \(3,\)"):
        spread_over_tokens([np.zeros(3)], [np.array([0, 1, 2])])
    with pytest.raises(ValueError, match=r"tokenizer must be the name or folder of one.* got None"):
        TokenSequences(None).fit(TEXTS)
    with pytest.raises(ValueError, match="There are no texts"):
        TokenSequences(tokenizer).fit(TEXTS).transform([])
    with pytest.raises(ValueError, match="There is no tokenizer"):
        TokenSequences(str(tmp_path)).fit(TEXTS)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-mmfuse\[transformers\]'"):
        TokenSequences("bert-base-uncased").fit(TEXTS)
