"""The baselines: every fusion fits, explains itself, and says what it cannot read."""

import pickle
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from sklearn_mmfuse import FusionClassifier, FusionRegressor, MROClassifier, MultimodalData
from sklearn_mmfuse.datasets import make_synchronous
from sklearn_mmfuse.inspection import (
    DecompositionDisplay,
    modality_effects,
    modality_importance,
    modality_robustness,
)
from sklearn_mmfuse.nets import FUSIONS

from ._data import make_blocks, make_target

VECTORS = ["late", "concat", "tensor", "low_rank"]
ALIGNED = ["ef_lstm", "mfn", "raven"]
SEQUENTIAL = [*ALIGNED, "lf_lstm", "mult"]
QUICK = {"max_epochs": 5, "learning_rate": 0.01, "state_dim": 8, "random_state": 0}


def sequences(n=64, seed=0):
    toy = make_synchronous(n, n_steps=6, n_events=1, random_state=seed)
    return toy.data, toy.target


def data_for(fusion, n=64):
    if fusion in SEQUENTIAL:
        return sequences(n)
    blocks = make_blocks(n, n_modalities=3)
    return MultimodalData(blocks), make_target(blocks, "binary")


def test_every_fusion_is_tested():
    assert {*VECTORS, *SEQUENTIAL, "mag"} == set(FUSIONS)


@pytest.mark.parametrize("fusion", [*VECTORS, *SEQUENTIAL])
def test_fits_64_rows(fusion):
    rng = np.random.default_rng(0)
    X, _ = data_for(fusion)
    y = rng.integers(0, 2, size=64)  # nothing to learn but the rows
    small = {"encoder": {m: {"name": "mult", "width": 16, "n_layers": 1} for m in X}}
    model = FusionClassifier(
        fusion=fusion, max_epochs=300, learning_rate=0.01, weight_decay=0.0, random_state=0,
        state_dim=32, early_stopping=False, **(small if fusion == "mult" else {}),
    )  # fmt: skip
    assert model.fit(X, y).score(X, y) > 0.95


@pytest.mark.filterwarnings("ignore:On the .* the model is not reliably better:UserWarning")
@pytest.mark.parametrize("fusion", [*VECTORS, *SEQUENTIAL])
def test_contributions_add_up_and_a_pickle_predicts_the_same(fusion):
    X, y = data_for(fusion)
    model = FusionClassifier(fusion=fusion, **QUICK).fit(X, y)
    parts = model.decompose(X, max_evaluations=10_000, n_draws=5)
    np.testing.assert_allclose(parts.sum()[:, 0], model.decision_function(X), atol=1e-10)
    assert parts.method == ("terms" if fusion == "late" else "effects")
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict_proba(X), model.predict_proba(X))
    assert model.relevance_scores_.sum() == pytest.approx(1.0)
    assert model.relevance_scores_.index.tolist() == [str(term) for term in parts.terms]
    assert list(model.unique_contributions_.columns) == model.modality_names_


@pytest.mark.parametrize("fusion", ["concat", "tensor", "low_rank", "ef_lstm", "mfn", "lf_lstm"])
def test_decompose_is_modality_effects(fusion):
    X, y = data_for(fusion)
    model = FusionClassifier(fusion=fusion, **QUICK).fit(X, y)
    few = X[np.arange(12)]
    parts, effects = model.decompose(few), modality_effects(model, few, method="exact")
    assert (parts.terms, parts.method) == (effects.terms, effects.method)
    np.testing.assert_allclose(parts.values, effects.values, atol=1e-10)
    np.testing.assert_allclose(parts.bias, effects.bias, atol=1e-10)


def test_low_rank_effects_of_many_rows_are_exact():
    blocks = make_blocks(400, n_modalities=3)
    model = FusionClassifier(fusion="low_rank", **QUICK)
    model.fit(blocks, make_target(blocks, "binary"))
    assert model.decompose(blocks).standard_errors is None
    few = {name: block[:15] for name, block in blocks.items()}
    expected = modality_effects(model, few, method="exact")
    np.testing.assert_allclose(model.decompose(few).values, expected.values, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_late_fusion_is_mro_of_order_one(dtype):
    blocks = make_blocks(90, n_modalities=3)
    y = make_target(blocks, "multiclass")
    late = FusionClassifier(fusion="late", dtype=dtype, max_epochs=10, random_state=0)
    mro = MROClassifier(max_order=1, dtype=dtype, max_epochs=10, random_state=0).fit(blocks, y)
    late.fit(blocks, y)
    # The last layer is read apart in one of them, which is another order of the same sums.
    atol = {"float32": 1e-5, "float64": 1e-12}[dtype]
    ours, theirs = late.decompose(blocks), mro.decompose(blocks)
    np.testing.assert_allclose(ours.values, theirs.values, atol=atol, rtol=0)
    np.testing.assert_allclose(ours.sum(), theirs.sum(), atol=atol, rtol=0)


def test_purify_false_is_the_term_of_the_net():
    X, y = data_for("concat")
    model = FusionClassifier(**QUICK).fit(X, y)
    parts = model.decompose(X[:1], purify=False)
    assert [str(term) for term in parts.terms] == ["audio × text × video"]
    assert parts.method == "terms"
    assert model.decompose(X[:1], background=X).values.shape == (1, 7, 1)
    with pytest.raises(ValueError, match="pass background="):
        model.decompose(X[:1])
    with pytest.raises(ValueError, match="purify must be True, False or 'auto'; got 'no'"):
        model.decompose(X, purify="no")


def test_any_fusion_explains_a_row_over_a_background():
    blocks = make_blocks(90, n_modalities=3)
    y, one = make_target(blocks, "binary"), {name: block[:1] for name, block in blocks.items()}
    for fusion in VECTORS:
        model = FusionClassifier(fusion=fusion, **QUICK).fit(blocks, y)
        parts = model.decompose(one, background=blocks)
        assert parts.method == "effects"
        np.testing.assert_allclose(parts.sum()[:, 0], model.decision_function(one), atol=1e-10)
        display = DecompositionDisplay.from_estimator(model, one, background=blocks)
        np.testing.assert_array_equal(display.decomposition.values, parts.values)
        plt.close(display.figure_)
    # Few rows get many draws: more of them change little.
    model = FusionClassifier(fusion="concat", activation="gelu", **QUICK).fit(blocks, y)
    auto = model.decompose(one, background=blocks, max_evaluations=0)
    many = model.decompose(one, background=blocks, max_evaluations=0, n_draws=500)
    assert auto.standard_errors.max() < many.standard_errors.max() / 3
    lacking = {**blocks, "text": np.where(np.arange(90)[:, None] < 5, np.nan, blocks["text"])}
    with pytest.raises(ValueError, match="The background lacks 'text' in 5 of 90 rows"):
        model.decompose(one, background=lacking)


def test_relevance_does_not_grow_by_the_noise_of_draws():
    blocks = make_blocks(300, n_modalities=4)
    y = blocks["text"][:, 0] + blocks["audio"][:, 0]
    model = FusionRegressor(
        fusion="concat", max_epochs=150, learning_rate=0.01, weight_decay=0.1, random_state=0
    ).fit(blocks, y)
    large = model.relevance_scores_[["text", "audio"]].sum()
    exact = modality_effects(model, {n: b[:8] for n, b in blocks.items()}, method="exact")
    share = np.abs(exact.values).mean(axis=(0, 2))
    share = share / share.sum()
    names = [str(term) for term in exact.terms]
    assert large == pytest.approx(share[names.index("text")] + share[names.index("audio")], abs=0.1)


def test_lf_lstm_is_as_wide_as_its_state():
    X, y = sequences()
    model = FusionClassifier(fusion="lf_lstm", **QUICK).fit(X, y)
    assert model.module_.in_features == {"audio": 8, "text": 8}
    named = {"text": {"name": "lstm", "width": 5}}
    model = FusionClassifier(fusion="lf_lstm", encoder=named, **QUICK).fit(X, y)
    assert model.module_.in_features == {"audio": 8, "text": 5}


def test_order_of_modalities_and_of_rows_changes_nothing():
    blocks = make_blocks(90, n_modalities=3)
    y = make_target(blocks, "binary")
    backwards = dict(reversed(blocks.items()))
    for fusion in ["concat", "tensor", "low_rank"]:
        one = FusionClassifier(fusion=fusion, **QUICK).fit(blocks, y)
        other = FusionClassifier(fusion=fusion, **QUICK).fit(backwards, y)
        np.testing.assert_array_equal(one.predict_proba(blocks), other.predict_proba(backwards))
        half = one.predict_proba({name: block[40:] for name, block in blocks.items()})
        np.testing.assert_allclose(one.predict_proba(blocks)[40:], half, atol=1e-14)


def test_rows_may_lack_modalities():
    blocks = {name: block.copy() for name, block in make_blocks(90, n_modalities=3).items()}
    y = make_target(blocks, "regression")
    blocks["text"][:30] = np.nan
    model = FusionRegressor(fusion="tensor", **QUICK).fit(blocks, y)
    assert np.isfinite(model.predict(blocks)).all()
    at_mean = {**blocks, "text": blocks["text"].copy()}
    at_mean["text"][:30] = blocks["text"][30:].mean(axis=0)
    np.testing.assert_allclose(model.predict(blocks), model.predict(at_mean), rtol=1e-5)
    with pytest.raises(ValueError, match="Pure effects need every modality of every row"):
        model.decompose(blocks)
    complete = {name: block[30:55] for name, block in blocks.items()}
    np.testing.assert_allclose(
        model.decompose(complete).sum()[:, 0], model.predict(complete), atol=1e-9
    )
    assert model.unique_contributions_.index.min() >= 30
    table = modality_robustness(model, complete, y[30:55])
    assert table["loss"].iloc[0] == 0.0
    assert len(table) == 7
    with pytest.warns(UserWarning, match="no modality that a term could read"):
        model.predict({name: np.full((1, b.shape[1]), np.nan) for name, b in blocks.items()})


def test_unique_contributions_keep_the_index_of_a_frame():
    blocks = make_blocks(60)
    frame = pd.concat({name: pd.DataFrame(block) for name, block in blocks.items()}, axis=1)
    frame.index = [f"p{i}" for i in range(60)]
    model = FusionClassifier(**QUICK).fit(frame, make_target(blocks, "binary"))
    assert model.unique_contributions_.index.tolist() == frame.index.tolist()


def test_large_data_is_described_by_a_part_of_it():
    blocks = make_blocks(600, n_modalities=3)
    params = QUICK | {"max_epochs": 30}
    model = FusionClassifier(**params).fit(blocks, make_target(blocks, "binary"))
    assert len(model.unique_contributions_) == 200
    again = FusionClassifier(**params).fit(blocks, make_target(blocks, "binary"))
    pd.testing.assert_series_equal(model.relevance_scores_, again.relevance_scores_)
    assert model.relevance_scores_.idxmax() == "text"


def test_importance_by_leaving_effects_out():
    blocks = make_blocks(60)
    y = make_target(blocks, "binary")
    model = FusionClassifier(**QUICK).fit(blocks, y)
    table = modality_importance(model, blocks, y, kind="ablation")
    assert table.index.tolist() == ["text", "audio", "audio × text"]


def test_grid_search_over_fusions():
    blocks = make_blocks(60)
    grid = {"fusion": VECTORS}
    search = GridSearchCV(FusionClassifier(**QUICK), grid, cv=2)
    search.fit(MultimodalData(blocks), make_target(blocks, "binary"))
    assert set(search.cv_results_["param_fusion"]) == set(VECTORS)


def test_aligned_sequences_of_different_lengths_and_padding():
    X, y = sequences()
    longer = MultimodalData(
        {
            name: np.concatenate([block, np.full((64, 3, block.shape[2]), np.nan)], axis=1)
            for name, block in X.items()
        }
    )
    lists = {
        name: [row[~np.isnan(row[:, 0])] for row in np.asarray(block)] for name, block in X.items()
    }
    for fusion in ALIGNED:
        model = FusionClassifier(fusion=fusion, **QUICK).fit(X, y)
        for same in (longer, lists):
            again = FusionClassifier(fusion=fusion, **QUICK).fit(same, y)
            np.testing.assert_array_equal(again.predict_proba(same), model.predict_proba(X))
        one = model.predict_proba(X[np.array([5])])
        np.testing.assert_allclose(one, model.predict_proba(X)[5:6], atol=1e-14)


def test_a_row_of_aligned_sequences_may_lack_a_modality():
    X, y = sequences()
    blocks = {name: np.array(block) for name, block in X.items()}
    blocks["audio"][:5] = np.nan
    model = FusionClassifier(fusion="ef_lstm", **QUICK).fit(blocks, y)
    alone = model.predict_proba({"text": blocks["text"][:5]})
    np.testing.assert_allclose(model.predict_proba(blocks)[:5], alone, atol=1e-14)


@pytest.mark.parametrize("fusion", ALIGNED)
def test_unaligned_sequences_are_refused(fusion):
    X, y = sequences()
    blocks = {name: np.array(block) for name, block in X.items()}
    blocks["audio"][7, 2:] = np.nan
    with pytest.raises(ValueError, match=r"row 7 has 2 of 'audio' and \d of 'text'.*'lf_lstm'"):
        FusionClassifier(fusion=fusion, **QUICK).fit(blocks, y)
    blocks = {name: np.array(block) for name, block in X.items()}
    last = int((~np.isnan(blocks["text"][3, :, 0])).sum()) - 1
    blocks["audio"][3, 0], blocks["text"][3, last] = np.nan, np.nan
    with pytest.raises(ValueError, match=r"row 3 has .*, at different ones"):
        FusionClassifier(fusion=fusion, **QUICK).fit(blocks, y)


@pytest.mark.parametrize("fusion", ALIGNED)
def test_vectors_and_encoders_are_refused_by_fusions_step_by_step(fusion):
    X, y = sequences()
    mixed = {**dict(X.items()), "age": np.zeros((64, 1))}
    with pytest.raises(ValueError, match=r"'age' is none\. Repeat at every step"):
        FusionClassifier(fusion=fusion, **QUICK).fit(mixed, y)
    with pytest.raises(ValueError, match="nothing for encoder='gru' to read"):
        FusionClassifier(fusion=fusion, encoder="gru", **QUICK).fit(X, y)


@pytest.mark.parametrize("fusion", ALIGNED)
def test_in_prediction_a_sequence_may_end_early_but_have_no_gap_of_its_own(fusion):
    X, y = sequences()
    model = FusionClassifier(fusion=fusion, **QUICK).fit(X, y)
    blocks = {name: np.array(block) for name, block in X.items()}
    means = {name: np.nanmean(block, axis=(0, 1)) for name, block in blocks.items()}
    last = int((~np.isnan(blocks["audio"][0, :, 0])).sum()) - 1
    ended = {**blocks, "audio": blocks["audio"].copy()}
    ended["audio"][0, last] = np.nan
    at_mean = {**blocks, "audio": blocks["audio"].copy()}
    at_mean["audio"][0, last] = means["audio"]
    np.testing.assert_allclose(model.predict_proba(ended), model.predict_proba(at_mean), atol=1e-6)
    gap = {**blocks, "audio": blocks["audio"].copy()}
    gap["audio"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"row 0 has .*'audio' lacks some"):
        model.predict(gap)
    common = {name: block.copy() for name, block in blocks.items()}
    for block in common.values():
        block[0, 1] = np.nan
    assert np.isfinite(model.predict_proba(common)).all()


def test_raven_hears_what_is_said_without_words():
    rng = np.random.default_rng(0)
    X = {"audio": rng.normal(size=(300, 4, 2)), "text": rng.normal(size=(300, 4, 3))}
    y = X["audio"][..., 0].sum(axis=1)
    model = FusionRegressor(
        fusion="raven", state_dim=8, max_epochs=20, learning_rate=0.01, modality_dropout=0.3,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    assert np.corrcoef(model.predict(X, available=["audio"]), y)[0, 1] > 0.5


def test_other_bad_input():
    blocks = make_blocks(60, n_modalities=5)
    y = make_target(blocks, "binary")
    with pytest.raises(ValueError, match=r"reads sequences \(n, T, d\), and X has none"):
        FusionClassifier(fusion="lf_lstm").fit(blocks, y)
    with pytest.raises(ValueError, match="use a smaller tensor_dim, or fusion='low_rank'"):
        FusionClassifier(fusion="tensor", tensor_dim=16).fit(blocks, y)
    X, target = sequences()
    with pytest.raises(
        ValueError, match=r"reads sequences by 'lstm'; got encoders \{'audio': 'gru'"
    ):
        FusionClassifier(fusion="lf_lstm", encoder="gru").fit(X, target)
    with pytest.raises(ValueError, match=r"there is no 'words' among .*language='audio'"):
        FusionClassifier(fusion="raven", language="words").fit(X, target)
    with pytest.raises(ValueError, match="and X has none"):
        FusionClassifier(fusion="raven", modalities=["text"]).fit(X, target)
    with pytest.raises(ValueError, match="'fusion' parameter of FusionClassifier must be a str"):
        FusionClassifier(fusion="early").fit(blocks, y)


# A pretrained language model ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_models(tmp_path_factory):
    """Return folders with tiny models of random weights."""
    transformers = pytest.importorskip("transformers")
    from sklearn_mmfuse.nets import global_generator

    transformers.utils.logging.disable_progress_bar()
    small = {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32,
    }  # fmt: skip
    configs = {
        "bert": transformers.BertConfig(**small),
        "roberta": transformers.RobertaConfig(**small),
        "gpt_neox": transformers.GPTNeoXConfig(**small),
        "xlnet": transformers.XLNetConfig(
            vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=32
        ),
    }
    folders = {}
    for name, config in configs.items():
        folders[name] = str(tmp_path_factory.mktemp(name))
        with global_generator(0):
            transformers.AutoModel.from_config(config).save_pretrained(folders[name])
    return folders


def tokens(n=64, n_steps=7, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 50, size=(n, n_steps, 1)).astype(float)
    audio = rng.normal(size=(n, n_steps, 3))
    padded = np.arange(n_steps) >= rng.integers(3, n_steps + 1, size=(n, 1))
    ids[padded], audio[padded] = np.nan, np.nan
    return {"text": ids, "audio": audio}, (np.nansum(audio[..., 0], axis=1) > 0).astype(int)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlnet", "gpt_neox"])
def test_mag_fits_explains_and_pickles(language_models, name):
    X, y = tokens()
    model = FusionClassifier(
        fusion="mag", pretrained=language_models[name], max_epochs=80, learning_rate=3e-3,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    assert model.score(X, y) > 0.95
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict_proba(X), model.predict_proba(X))
    few = {name: block[:6] for name, block in X.items()}
    np.testing.assert_allclose(model.predict_proba(few), model.predict_proba(X)[:6], atol=1e-12)
    parts, effects = model.decompose(few), modality_effects(model, few, method="exact")
    np.testing.assert_allclose(parts.values, effects.values, atol=1e-9)
    changed = {m: block.copy() for m, block in few.items()}
    changed["text"][0, 2] = 3 + changed["text"][0, 2] % 40  # not the first token
    changed["audio"][1, 2] += 3.0
    moved = np.abs(model.decision_function(changed) - model.decision_function(few))
    assert (moved[:2] > 1e-4).all()
    assert (moved[2:] < 1e-10).all()
    unsaid = model.predict_proba(few, available=["audio"])
    first = {**few, "text": np.where(np.isnan(few["text"]), np.nan, 0.0)}
    assert not np.allclose(unsaid, model.predict_proba(first))  # no token is not token 0
    longer = {
        m: np.concatenate([block, np.full_like(block, np.nan)], axis=1) for m, block in X.items()
    }
    np.testing.assert_allclose(model.predict_proba(longer), model.predict_proba(X), atol=1e-12)


def test_mag_starts_from_the_pretrained_weights(language_models):
    transformers = pytest.importorskip("transformers")
    X, y = tokens(16)
    model = FusionClassifier(
        fusion="mag", pretrained=language_models["bert"], max_epochs=1, learning_rate=1e-12,
        random_state=0, shift=0.0, hidden_layer_sizes=(),
    ).fit(X, y)  # fmt: skip
    bert = transformers.AutoModel.from_pretrained(language_models["bert"]).eval().double()
    ids = np.nan_to_num(X["text"][..., 0])
    import torch

    with torch.no_grad():
        states = bert(
            torch.tensor(ids, dtype=torch.long),
            attention_mask=torch.tensor(~np.isnan(X["text"][..., 0]), dtype=torch.long),
        ).last_hidden_state[:, 0]
        blocks = {name: torch.from_numpy(block) for name, block in X.items()}
        ours = model.module_.double().embed(dict(sorted(blocks.items())))[0, 0]
    torch.testing.assert_close(ours, states, atol=1e-6, rtol=1e-6)


def test_the_same_seed_is_the_same_mag_and_the_global_generator_is_left_alone(language_models):
    X, y = tokens(32)
    options = {"fusion": "mag", "pretrained": language_models["bert"], "max_epochs": 3}
    one, other = (FusionClassifier(random_state=0, **options).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_mag_says_what_it_needs(language_models, monkeypatch, tmp_path):
    X, y = tokens(16)
    with pytest.raises(ValueError, match=r"say which, e.g. pretrained='bert-base-uncased'"):
        FusionClassifier(fusion="mag").fit(X, y)
    with pytest.raises(ValueError, match=r"There is no language model '.*nothing'"):
        FusionClassifier(fusion="mag", pretrained=str(tmp_path / "nothing")).fit(X, y)
    transformers = pytest.importorskip("transformers")
    transformers.T5Config(d_model=8).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="is an encoder and a decoder"):
        FusionClassifier(fusion="mag", pretrained=str(tmp_path / "t5")).fit(X, y)
    model = FusionClassifier(fusion="mag", pretrained=language_models["bert"], max_epochs=1)
    with pytest.raises(ValueError, match="knows 50 tokens, from 0; 'text' has ids from 50"):
        model.fit({**X, "text": X["text"] + 47}, y)
    long = {m: np.concatenate([block] * 5, axis=1) for m, block in X.items()}
    long = {m: np.nan_to_num(block, nan=1.0) for m, block in long.items()}
    with pytest.raises(ValueError, match=r"up to 32 tokens.* has 35; cut them, .*max_length=32"):
        model.fit(long, y)
    with pytest.raises(ValueError, match="needs token ids for 'text', whole numbers"):
        model.fit({**X, "text": X["text"] + 0.5}, y)
    with pytest.raises(ValueError, match=r"got \(16, 7, 3\)"):
        model.fit({"text": X["audio"], "audio": X["audio"]}, y)
    model.fit(X, y)
    with pytest.raises(ValueError, match="knows 50 tokens"):
        model.predict({**X, "text": X["text"] * 100})
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-mmfuse\[transformers\]'"):
        FusionClassifier(fusion="mag", pretrained="x").fit(X, y)
