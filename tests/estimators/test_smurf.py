"""SMURF recovers what is unique and what is redundant, and says it in frames that add up."""

import numpy as np
import pandas as pd
import pytest

from sklearn_mmfuse import MultimodalData, SMURFClassifier, SMURFRegressor
from sklearn_mmfuse.datasets import make_redundant
from sklearn_mmfuse.inspection import modality_effects

from ._data import make_blocks, make_target

LINEAR = {
    "hidden_layer_sizes": (),
    "learning_rate": 0.02,
    "max_epochs": 150,
    "early_stopping": False,
    "weight_decay": 0.0,
    "batch_size": 250,
    "random_state": 0,
}


def fit(kind="regression", n_modalities=3, **params):
    blocks = make_blocks(60, n_modalities)
    y = make_target(blocks, kind)
    cls = SMURFRegressor if kind == "regression" else SMURFClassifier
    params = {"max_epochs": 5, "hidden_layer_sizes": (5,), "learning_rate": 0.02} | params
    return cls(random_state=0, **params).fit(blocks, y), MultimodalData(blocks), y


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_known_contributions_are_recovered(n_modalities):
    toy = make_redundant(1000, n_modalities=n_modalities, random_state=0)
    model = SMURFRegressor(**LINEAR).fit(toy.data[:500], toy.target[:500])
    parts = model.decompose(toy.data[500:])
    r = []
    for term in parts.terms:
        if term.kind == "unique":
            truth = toy.contributions[str(term)][500:, 0]
        else:
            pair = "".join(sorted(term.modalities + term.partner))
            truth = toy.latents[f"r_{pair}"][500:]
        r.append(np.corrcoef(parts[term][:, 0], truth)[0, 1])
    assert np.mean(r) > (0.98 if n_modalities == 2 else 0.95)
    # Both parts of a pair are equally large.
    pair = parts["A (redundant with B)"], parts["B (redundant with A)"]
    assert pair[0].std() == pytest.approx(pair[1].std(), rel=0.15)


def test_without_a_penalty_unique_and_redundant_are_arbitrary():
    toy = make_redundant(500, n_modalities=2, random_state=0)
    models = [
        SMURFRegressor(**LINEAR, **params).fit(toy.data, toy.target)
        for params in ({"reg_lambda": 0.0}, {"factorization": None}, {})
    ]
    none, also_none, smurf = (model.decompose(toy.data).values for model in models)
    np.testing.assert_array_equal(none, also_none)
    r_ab = toy.latents["r_AB"]
    assert np.corrcoef(smurf[:, 1, 0], r_ab)[0, 1] > np.corrcoef(none[:, 1, 0], r_ab)[0, 1] + 0.2


@pytest.mark.filterwarnings("ignore:On the .* the model is not reliably better:UserWarning")
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("max_order", [1, 2, 3])
@pytest.mark.parametrize("factorization", ["smurf", "ehgr"])
def test_terms_add_up_and_are_told_in_frames(kind, max_order, factorization):
    model, X, _ = fit(kind, max_order=max_order, factorization=factorization)
    parts = model.decompose(X)
    raw = model.predict(X) if kind == "regression" else model.decision_function(X)
    np.testing.assert_allclose(parts.sum().squeeze(), raw, atol=1e-10)
    assert len(parts.terms) == {1: 9, 2: 18, 3: 19}[max_order]
    unique, redundant = model.unique_contributions_, model.redundant_contributions_
    n_outputs = len(parts.outputs)
    assert unique.shape == (60, 3 * n_outputs)
    assert redundant.shape == (60, {1: 6, 2: 12, 3: 12}[max_order] * n_outputs)
    if kind == "regression":
        assert list(unique.columns) == ["text", "audio", "video"]
        np.testing.assert_allclose(unique["audio"], parts["audio (unique)"][:, 0], atol=1e-10)
        column = "audio (redundant with text)"
        np.testing.assert_allclose(redundant[column], parts[column][:, 0], atol=1e-10)
    assert model.relevance_scores_.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_surprise_is_how_much_redundant_parts_disagree(kind):
    model, X, _ = fit(kind)
    surprise, parts = model.redundancy_surprise(X), model.decompose(X)
    expected = np.abs(parts["audio (redundant with text)"] - parts["text (redundant with audio)"])
    if kind == "regression":
        assert surprise.shape == (60, 3)
        np.testing.assert_allclose(surprise["text and audio"], expected[:, 0])
    else:
        assert surprise.columns.names == ["output", "pair"]
        found = surprise.xs("text and audio", axis=1, level="pair")
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("missing", ["recover", "drop"])
def test_surprise_is_unknown_where_one_of_the_two_is_absent(missing):
    model, X, _ = fit()
    index = [f"clip {i}" for i in range(len(X))]
    blocks = {name: block.copy() for name, block in X.items()}
    whole = model.redundancy_surprise(X)
    blocks["text"][::3] = np.nan
    frames = pd.concat({n: pd.DataFrame(b, index=index) for n, b in blocks.items()}, axis=1)
    surprise = model.set_params(missing=missing).redundancy_surprise(frames)
    lacks = np.arange(len(X)) % 3 == 0
    for pair in surprise.columns:
        unknown = lacks & ("text" in pair)
        np.testing.assert_array_equal(np.isnan(surprise[pair]), unknown)
        np.testing.assert_allclose(surprise[pair][~unknown], whole[pair][~unknown], atol=1e-12)
    assert list(surprise.index) == index
    assert model.missing == missing
    assert model.redundancy_surprise(X, available=["text"]).isna().all(axis=None)


def test_a_person_free_of_redundancy_is_no_surprise():
    toy = make_redundant(600, n_modalities=2, random_state=0)
    model = SMURFRegressor(**LINEAR).fit(toy.data, toy.target)
    odd = toy.data.assign(A=toy.data["A"] * [1, -1, 1])  # A now tells the opposite of B
    usual, now = (model.redundancy_surprise(X)["A and B"].mean() for X in (toy.data, odd))
    assert now > 3 * usual


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_redundancy_is_the_correlation_of_two_parts(kind):
    model, X, _ = fit(kind)
    parts = model.decompose(X)
    table = model.redundancy(X, n_bootstrap=50)
    assert table.columns.tolist() == ["correlation", "low", "high", "std_first", "std_second"]
    for i, output in enumerate(parts.outputs):
        one = parts["text (redundant with audio)"][:, i]
        other = parts["audio (redundant with text)"][:, i]
        row = table.loc["text and audio" if kind == "regression" else (output, "text and audio")]
        assert row["correlation"] == pytest.approx(np.corrcoef(one, other)[0, 1])
        assert row["low"] < row["correlation"] < row["high"]
        assert [row["std_first"], row["std_second"]] == pytest.approx([one.std(), other.std()])
    plain = model.redundancy(X, n_bootstrap=0)
    pd.testing.assert_frame_equal(plain, table[plain.columns])
    copies = MultimodalData({name: np.repeat(block, 3, axis=0) for name, block in X.items()})
    persons = model.redundancy(copies, n_bootstrap=50, groups=np.repeat(np.arange(60), 3))
    pd.testing.assert_frame_equal(persons, table)  # three copies tell no more than one


def test_redundancy_looks_at_rows_that_lack_neither():
    model, X, _ = fit()
    blocks = {name: block.copy() for name, block in X.items()}
    blocks["text"][:20] = np.nan
    table, late = model.redundancy(blocks), model.redundancy(X[20:])
    for pair in ("text and audio", "text and video"):
        assert table.loc[pair, "correlation"] == pytest.approx(late.loc[pair, "correlation"])
    assert table.loc["audio and video"].equals(model.redundancy(X).loc["audio and video"])
    blocks["text"][:] = np.nan
    assert np.isnan(model.redundancy(blocks).loc["text and audio"].to_numpy(dtype=float)).all()


@pytest.mark.parametrize("factorization", ["smurf", "ehgr"])
@pytest.mark.parametrize("balance", [True, False])
def test_modalities_that_no_row_has_both_of_are_fitted(factorization, balance):
    blocks = make_blocks(60, 3)
    blocks["text"][:30] = np.nan
    blocks["audio"][30:] = np.nan
    model = SMURFRegressor(
        factorization=factorization, balance=balance, max_epochs=3, early_stopping=False
    ).fit(blocks, np.arange(60.0))
    assert np.isfinite(model.predict(blocks)).all()
    assert model.redundancy(blocks, n_bootstrap=0)["correlation"].isna().sum() == 1


def test_what_is_not_shared_does_not_agree_on_other_rows():
    """On the rows of training it does: there nets of few rows can have it so."""
    rng = np.random.default_rng(0)
    X = MultimodalData({name: rng.normal(size=(700, 6)) for name in ("a", "b")})
    y = X["a"][:, 0] + X["b"][:, 0] + rng.normal(size=700)
    model = SMURFRegressor(random_state=0).fit(X[:200], y[:200])
    assert model.redundancy(X[:200]).loc["a and b", "low"] > 0.2
    other = model.redundancy(X[200:]).loc["a and b"]
    assert other["low"] < 0 < other["high"]
    toy = make_redundant(600, n_modalities=2, random_state=0)
    shared = SMURFRegressor(**LINEAR).fit(toy.data[:400], toy.target[:400])
    assert shared.redundancy(toy.data[400:]).loc["A and B", "low"] > 0.5


def test_the_order_of_modalities_does_not_matter():
    model, X, y = fit()
    turned = MultimodalData({name: X[name] for name in reversed(list(X))})
    other = SMURFRegressor(
        max_epochs=5, hidden_layer_sizes=(5,), learning_rate=0.02, random_state=0
    ).fit(turned, y)
    one, two = model.decompose(X), other.decompose(turned)
    for term in one.terms:
        np.testing.assert_allclose(one[term], two[term], atol=1e-10)


def test_interactions_can_be_purified_as_in_any_other_model():
    model, X, _ = fit(max_order=2)
    pure = model.decompose(X[:6], purify=True)
    truth = modality_effects(model, X[:6], method="exact")
    np.testing.assert_allclose(pure.sum(), model.decompose(X[:6]).sum(), atol=1e-10)
    both = [t for t in pure.terms if t.modalities == ("audio", "text")]
    together = sum(pure[term] for term in both)
    np.testing.assert_allclose(together, truth["audio × text"], atol=1e-9)


def test_penalties_see_more_rows_than_a_batch():
    toy = make_redundant(400, n_modalities=2, random_state=0)
    params = LINEAR | {"max_epochs": 3, "batch_size": 20}
    fitted = {
        size: SMURFRegressor(**params, penalty_batch_size=size).fit(toy.data, toy.target)
        for size in ("auto", 400, 1024, 100, 20)
    }
    values = {size: model.decompose(toy.data).values for size, model in fitted.items()}
    np.testing.assert_array_equal(values["auto"], values[400])
    np.testing.assert_array_equal(values["auto"], values[1024])
    assert not np.array_equal(values[100], values[400])
    assert not np.array_equal(values[20], values[400])


def test_bad_input_gets_one_clear_sentence():
    blocks = make_blocks(20, 3)
    y = make_target(blocks, "regression")
    one = {"text": blocks["text"]}
    cases = [
        ({}, one, "tells apart what is unique.*needs at least two modalities; X has one, 'text'"),
        ({"reg_lambda": -1}, blocks, "'reg_lambda' parameter of SMURFRegressor must be a float"),
        ({"max_order": 4}, blocks, r"max_order=4.*has 3 \(text, audio, video\); use max_order"),
        ({"factorization": "ehgr", "hidden_layer_sizes": ()}, blocks, "set hidden_layer_sizes"),
    ]
    for params, X, message in cases:
        model = SMURFRegressor(**params)
        with pytest.raises(ValueError, match=message):
            model.fit(X, y)
        assert not hasattr(model, "module_")
    with pytest.raises(ValueError, match="at least 3 training rows; there are 2"):
        SMURFRegressor().fit({name: block[:2] for name, block in blocks.items()}, y[:2])
    many = {f"m{i}": blocks["text"] for i in range(8)}
    with pytest.raises(ValueError, match="use a smaller max_order"):
        SMURFRegressor(max_order=4).fit(many, y)
    constant = blocks | {"text": np.ones((20, 2))}
    with pytest.warns(UserWarning, match=r"\['text'\] are constant: they tell nothing"):
        SMURFRegressor(max_epochs=1).fit(constant, y)


def test_frames_keep_the_index_of_the_data():
    blocks = make_blocks(20, 2)
    frame = pd.concat(
        [pd.DataFrame(block).add_prefix(f"{name}__") for name, block in blocks.items()], axis=1
    )
    frame.index = [f"s{i}" for i in range(20)]
    model = SMURFRegressor(max_epochs=1, random_state=0)
    model.fit(frame, make_target(blocks, "regression"))
    assert model.redundant_contributions_.index.equals(frame.index)
