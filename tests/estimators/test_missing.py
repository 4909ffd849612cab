"""Rows that lack a modality: how they train, what is predicted for them, and that it adds up."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_score

from sklearn_mmfuse import (
    Decomposition,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    RoutingClassifier,
    SMURFClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse.datasets import make_additive, make_redundant
from sklearn_mmfuse.losses import weighted_covariance

from ._data import make_blocks, make_target

LINEAR = {
    "hidden_layer_sizes": (),
    "learning_rate": 0.02,
    "max_epochs": 100,
    "early_stopping": False,
    "weight_decay": 0.0,
    "random_state": 0,
}
MODELS = {
    "mro": (MRORegressor, {}),
    "smro": (MRORegressor, {"optimization": "smro", "fusion": "tensor"}),
    "joint": (MRORegressor, {"optimization": "joint", "share_encoders": True}),
    "mro classifier": (MROClassifier, {}),
    "routing classifier": (RoutingClassifier, {"concept_dim": 4}),
    "smurf": (SMURFRegressor, {"max_order": 2}),
    "smurf classifier": (SMURFClassifier, {}),
    "ehgr": (SMURFRegressor, {"factorization": "ehgr"}),
}


def without(X, name, rows=slice(None)):
    block = X[name].copy()
    block[rows] = np.nan
    return X.assign({name: block})


def make(kind, n=60):
    blocks = make_blocks(n, 3)
    return MultimodalData(blocks), make_target(blocks, kind)


def fit(name, X=None, y=None, **params):
    cls, own = MODELS[name]
    kind = "regression" if issubclass(cls, MRORegressor | SMURFRegressor) else "multiclass"
    data, target = make(kind)
    params = {"max_epochs": 5, "hidden_layer_sizes": (5,), "learning_rate": 0.02} | own | params
    model = cls(random_state=0, **params)
    return model.fit(data if X is None else X, target if y is None else y), data


def raw(model, X, **options):
    if hasattr(model, "classes_"):
        return model.decision_function(X, **options)
    return model.predict(X, **options)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", ["recover", "drop"])
def test_ways_of_saying_that_a_modality_is_absent_are_the_same(name, missing):
    model, X = fit(name, missing=missing)
    expected = raw(model, X, available=["text", "video"])
    ways = (
        without(X, "audio"),
        X.drop("audio"),
        {"text": X["text"], "video": X["video"]},
        {"text": X["text"], "audio": None, "video": X["video"]},
        {"text": X["text"], "audio": [None] * len(X), "video": X["video"]},
        MultimodalData(text=X["text"], audio=[np.nan] * len(X), video=X["video"]),
        {"text": X["text"], "audio": np.full((len(X), 1), np.nan), "video": X["video"]},
    )
    for way in ways:
        np.testing.assert_allclose(raw(model, way), expected, atol=1e-12)
    some = raw(model, without(X, "audio", slice(0, 10)))
    np.testing.assert_allclose(some[:10], expected[:10], atol=1e-12)
    np.testing.assert_allclose(some[10:], raw(model, X)[10:], atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", ["recover", "drop"])
def test_a_decomposition_reports_what_is_absent_and_adds_up(name, missing):
    model, X = fit(name, missing=missing)
    lacking = without(X, "audio", slice(0, 10))
    parts = model.decompose(lacking)
    np.testing.assert_allclose(parts.sum().squeeze(), raw(model, lacking), atol=1e-12)
    for i, term in enumerate(parts.terms):
        gone = "audio" in term.modalities
        assert parts.absent[:10, i].all() == gone
        assert not parts.absent[10:, i].any()
        assert (not parts.values[:10, i].any()) == gone
    frame = parts.to_frame()
    assert frame.iloc[:10].isna().to_numpy().sum() == 10 * len(parts.outputs) * sum(
        "audio" in term.modalities for term in parts.terms
    )
    assert model.decompose(X).absent is None
    assert parts[10:].absent.sum() == 0
    both = Decomposition.concat([parts, model.decompose(X)])
    assert both.absent.sum() == parts.absent.sum()


def test_dropping_leaves_the_other_contributions_as_they_are():
    model, X = fit("mro", missing="drop")
    whole, part = model.decompose(X), model.decompose(X, available=["text", "video"])
    for term in whole.terms:
        if "audio" not in term.modalities:
            np.testing.assert_allclose(part[term], whole[term], atol=1e-12)
    np.testing.assert_allclose(part.bias, whole.bias)


@pytest.mark.parametrize("name", ["mro", "smurf", "smurf classifier"])
def test_recovering_is_ridge_regression_on_the_training_contributions(name):
    model, X = fit(name)
    whole = model.decompose(X)
    left = [i for i, term in enumerate(whole.terms) if "audio" not in term.modalities]
    inputs = whole.values[:, left].transpose(0, 2, 1).reshape(-1, len(left))
    target = whole.values.sum(axis=1).ravel()
    second = np.einsum("ntc,ntc->t", whole.values, whole.values) / len(whole)
    alpha = 1e-3 * second.mean() * len(whole)
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(inputs, target)
    expected = whole.values[:, left] * ridge.coef_[:, np.newaxis]
    found = model.decompose(X, available=["text", "video"]).values[:, left]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_recovering_beats_dropping_where_modalities_share():
    toy = make_redundant(1000, random_state=0)
    test, y = toy.data[500:], toy.target[500:]
    error = {}
    for missing in ("recover", "drop"):
        model = SMURFRegressor(missing=missing, **LINEAR).fit(toy.data[:500], toy.target[:500])
        for name in "ABC":
            difference = model.predict(test, available=[name]) - y
            error[missing, name] = np.mean(difference**2)
    for name in "ABC":
        assert error["recover", name] < 0.95 * error["drop", name]


def test_rows_train_the_nets_of_what_they_have():
    toy = make_additive(600, random_state=0)
    X = toy.data
    for name, rows in (("text", slice(0, 150)), ("vision", slice(100, 300))):
        X = without(X, name, rows)
    model = MRORegressor(max_order=1, **LINEAR).fit(X, toy.target)
    parts = model.decompose(toy.data)
    for term in parts.terms:
        r = np.corrcoef(parts[term][:, 0], toy.contributions[term][:, 0])[0, 1]
        assert r > 0.99
    # Contributions of the rows that have a modality are centered; the others have none.
    unique = model.unique_contributions_
    assert unique["text"].iloc[:150].isna().all()
    assert unique["text"].iloc[150:].mean() == pytest.approx(0, abs=1e-8)


def test_what_a_row_lacks_does_not_matter():
    X, y = make("regression")
    one = without(X, "audio", slice(0, 20))
    filled = {name: torch.from_numpy(np.nan_to_num(block)) for name, block in one.items()}
    model, _ = fit("mro", one, y)
    present = torch.ones(60, 3, dtype=torch.float64)
    names = list(model.module_.in_features)
    present[:20, names.index("audio")] = 0
    net = model.module_.double()
    other = filled | {"audio": filled["audio"].clone()}
    other["audio"][:20] = 1e3
    with torch.no_grad():
        a, b = (net(x, None, present).values for x in (filled, other))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_dropping_modalities_in_training_is_seeded_and_changes_the_fit(name):
    values = [
        fit(name, modality_dropout=p)[0].decompose(make("regression")[0]).values
        for p in (0.0, 0.5, 0.5)
    ]
    np.testing.assert_array_equal(values[1], values[2])
    assert not np.allclose(values[0], values[1])


def test_covariances_of_incomplete_rows_are_those_of_the_rows_that_have_both():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, generator=generator, dtype=torch.float64)
    present = torch.ones(3, 50, dtype=torch.float64)
    present[0, :20] = 0
    present[1, 10:30] = 0
    weight = torch.rand(50, generator=generator, dtype=torch.float64)
    found = weighted_covariance(x * present, weight, present)
    for i in range(3):
        for j in range(3):
            both = ((present[i] > 0) & (present[j] > 0)).numpy()
            expected = np.cov(x[[i, j]][:, both], aweights=weight[both])
            np.testing.assert_allclose(found[i, j], expected[0, 1], atol=1e-12)
    everywhere = torch.ones(3, 50, dtype=torch.float64)
    torch.testing.assert_close(
        weighted_covariance(x, weight, everywhere), weighted_covariance(x, weight)
    )


def test_nothing_left_is_the_bias_with_a_warning():
    model, X = fit("mro")
    nothing = X
    for name in X:
        nothing = without(nothing, name, [0, 3])
    with pytest.warns(UserWarning, match="2 of 60 rows have no modality.*the bias is predicted"):
        parts = model.decompose(nothing)
    np.testing.assert_allclose(parts.sum()[[0, 3]], np.broadcast_to(parts.bias, (2, 1)))


def test_too_few_complete_rows_cannot_recover():
    X, y = make("regression")
    model, _ = fit("mro", without(X, "audio", slice(0, 55)), y)
    dropping, _ = fit("mro", without(X, "audio", slice(0, 55)), y, missing="drop")
    np.testing.assert_array_equal(
        model.predict(X, available=["text"]), dropping.predict(X, available=["text"])
    )


def test_missing_modalities_go_through_cross_validation_with_persons():
    X, y = make("regression")
    person = np.repeat(np.arange(12), 5)
    X = without(X, "audio", person % 3 == 0)
    model = MRORegressor(max_epochs=3, early_stopping=True, random_state=0)
    scores = cross_val_score(
        clone(model), X, y, groups=person, cv=GroupKFold(3), params={"groups": person}
    )
    assert np.isfinite(scores).all()


def test_bad_input_gets_one_clear_sentence():
    X, y = make("regression")
    strict = MRORegressor(missing="error", max_epochs=1)
    with pytest.raises(ValueError, match="Input X contains NaN: modality 'audio' in 60 of 60"):
        strict.fit(without(X, "audio"), y)
    with pytest.raises(ValueError, match="'audio' is absent from all 60 training rows"):
        MRORegressor(max_epochs=1).fit(without(X, "audio"), y)
    strict.fit(X, y)
    with pytest.raises(ValueError, match=r"lacks the modalities \['audio'\]"):
        strict.predict(X.drop("audio"))
    with pytest.raises(ValueError, match="missing='error' forbids"):
        strict.predict(X, available=["text"])
    model, _ = fit("mro")
    for available in (["text", "pose"], "text"):
        with pytest.raises(ValueError, match=r"available= must be a list of modalities out of"):
            model.predict(X, available=available)
    everyone = "of every row; of 60 rows, 60 lack 'audio', 60 lack 'video'. Leave such rows out, or"
    with pytest.raises(ValueError, match=everyone):
        model.decompose(X, available=["text"], purify=True)
    with pytest.raises(ValueError, match="lacks the modalities"):
        model.predict({"pose": X["text"]})
