"""Purified terms: the same prediction, every term its pure effect."""

import time

import numpy as np
import pytest

from sklearn_mmfuse import MROClassifier, MRORegressor, MultimodalData
from sklearn_mmfuse.datasets import make_additive, make_bimodal, make_trimodal
from sklearn_mmfuse.inspection import modality_effects

from ._data import UNREGULARIZED, forms, make_blocks, make_target

MODES = ["mro", "smro", "joint", "single"]
ARCHITECTURES = [
    {"fusion": "tensor"},
    {"fusion": "tensor", "share_encoders": True, "activation": "tanh"},
    {"fusion": "concat"},
    {"fusion": "concat", "share_encoders": True},
    {"fusion": "concat", "hidden_layer_sizes": (5, 4), "activation": "silu"},
    {"fusion": "concat", "hidden_layer_sizes": ()},
]


def fit(kind="regression", n_modalities=3, n_samples=12, **params):
    blocks = make_blocks(n_samples, n_modalities)
    y = make_target(blocks, kind)
    cls = MRORegressor if kind == "regression" else MROClassifier
    params = {"max_epochs": 4, "hidden_layer_sizes": (6,), "tensor_dim": 3} | params
    model = cls(random_state=0, learning_rate=0.02, **params).fit(blocks, y)
    return model, MultimodalData(blocks)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("optimization", MODES)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("own", [True, False], ids=["own", "background"])
def test_purified_terms_are_the_pure_effects_of_the_model(kind, optimization, architecture, own):
    model, X = fit(kind, optimization=optimization, **architecture)
    rows, background = (X[:6], None) if own else (X[:4], X[5:11])
    pure = model.decompose(rows, purify=True, background=background)
    truth = modality_effects(model, rows, background=background, method="exact")
    np.testing.assert_allclose(pure.sum(), model.decompose(rows).sum(), atol=1e-10)
    assert pure.standard_errors is None
    assert (set(pure.terms), pure.link) == (set(truth.terms), truth.link)
    assert pure.outputs == truth.outputs
    np.testing.assert_allclose(pure.bias, truth.bias, atol=1e-9)
    for term in truth.terms:
        np.testing.assert_allclose(pure[term], truth[term], atol=1e-9)


@pytest.mark.parametrize("n_modalities", [2, 4])
@pytest.mark.parametrize("architecture", ARCHITECTURES[:3], ids=str)
def test_every_number_of_modalities(n_modalities, architecture):
    model, X = fit(n_modalities=n_modalities, **architecture)
    rows = X[:5]
    pure, truth = model.decompose(rows, purify=True), modality_effects(model, rows, method="exact")
    np.testing.assert_allclose(pure.values, truth.values, atol=1e-9)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_a_purified_term_has_mean_zero_over_each_of_its_modalities(architecture):
    model, X = fit("multiclass", optimization="joint", **architecture)
    background, n = X[2:9], 7
    for name in X:
        # One row whose modality `name` runs through the background.
        row = {other: np.repeat(X[other][:1], n, axis=0) for other in X}
        moved = MultimodalData(row | {name: background[name]})
        pure = model.decompose(moved, purify=True, background=background)
        for term in pure.terms:
            if name in term.modalities:
                np.testing.assert_allclose(pure[term].mean(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("architecture", ARCHITECTURES[:3], ids=str)
def test_purifying_twice_changes_nothing(architecture):
    model, X = fit(optimization="joint", **architecture)
    rows = X[:5]

    def purified_terms(some):
        return model.decompose(some, purify=True, background=rows).values[:, :, 0]

    # Each purified term, taken as a function, is its own pure effect and has no other.
    again = modality_effects(purified_terms, rows, method="exact")
    once = model.decompose(rows, purify=True)
    for position, term in enumerate(once.terms):
        for other in again.terms:
            expected = once[term][:, 0] if other == term else 0.0
            np.testing.assert_allclose(again[other][:, position], expected, atol=1e-9)
    np.testing.assert_allclose(again.bias, 0, atol=1e-9)


def test_a_lower_max_order_leaves_nothing_higher():
    model, X = fit(max_order=2)
    pure = model.decompose(X, purify=True)
    assert max(term.order for term in pure.terms) == 2
    effects = modality_effects(model, X, method="exact")
    np.testing.assert_allclose(effects["text × audio × video"], 0, atol=1e-10)
    np.testing.assert_allclose(pure["text × audio"], effects["text × audio"], atol=1e-10)


def test_one_net_on_all_modalities_gets_unimodal_terms():
    model, X = fit(optimization="single")
    assert len(model.decompose(X).terms) == 1
    assert [str(term) for term in model.decompose(X, purify=True).terms] == [
        "text",
        "audio",
        "video",
        "audio × text",
        "text × video",
        "audio × video",
        "audio × text × video",
    ]


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_above_the_budget_terms_are_sampled_with_standard_errors(kind):
    model, X = fit(
        kind, optimization="joint", n_samples=40, hidden_layer_sizes=(5, 4), **UNREGULARIZED
    )
    exact = model.decompose(X, purify=True)
    drawn = [  # the triple; all combinations of two modalities cost less than draws
        model.decompose(X, purify=True, max_evaluations=0, n_draws=100, random_state=seed)
        for seed in range(40)
    ]
    hits = []
    for parts in drawn:
        np.testing.assert_allclose(parts.sum(), exact.sum(), atol=1e-10)
        low, high = np.moveaxis(parts.interval(), -1, 0)
        hits.append((low <= exact.values) & (exact.values <= high))
    assert 0.93 < np.mean(hits) < 0.97
    same = model.decompose(X, purify=True, max_evaluations=0, n_draws=100, random_state=3)
    np.testing.assert_array_equal(same.values, drawn[3].values)


def test_the_budget_goes_to_cheap_terms_first():
    model, X = fit(hidden_layer_sizes=(5, 4), n_samples=20)
    # Three pairs need 2 * 20 * 20 evaluations each and one row each; the triple many more.
    parts = model.decompose(X, purify=True, max_evaluations=3000, n_draws=50)
    assert parts.standard_errors[:, -1].min() > 0  # the triple
    pairs = fit(hidden_layer_sizes=(5, 4), n_samples=20, max_order=2)[0]
    assert pairs.decompose(X, purify=True, max_evaluations=3000).standard_errors is None


def test_a_term_does_not_depend_on_the_rows_beside_it_when_there_is_a_background():
    model, X = fit()
    whole = model.decompose(X, purify=True, background=X)
    some = model.decompose(X[[3]], purify=True, background=X)
    np.testing.assert_allclose(some.values, whole.values[[3]], atol=1e-12)
    np.testing.assert_allclose(whole.values, model.decompose(X, purify=True).values, atol=1e-12)


def test_any_form_of_the_data_can_be_purified():
    blocks = make_blocks(20, 3)
    y = make_target(blocks, "regression")
    found = []
    for X, modalities in forms(blocks).values():
        model = MRORegressor(modalities=modalities, max_epochs=2, random_state=0).fit(X, y)
        found.append(model.decompose(X[:9], purify=True, background=X).values)
    np.testing.assert_allclose(found[0], found[1], atol=1e-10)
    np.testing.assert_allclose(found[0], found[2], atol=1e-10)


def test_the_order_of_modalities_does_not_matter():
    model, X = fit(optimization="joint")
    turned = MultimodalData({name: X[name] for name in reversed(list(X))})
    y = make_target(dict(X.items()), "regression")
    other = MRORegressor(
        optimization="joint",
        max_epochs=4,
        hidden_layer_sizes=(6,),
        tensor_dim=3,
        random_state=0,
        learning_rate=0.02,
    ).fit(turned, y)
    one, two = model.decompose(X, purify=True), other.decompose(turned, purify=True)
    for term in one.terms:
        np.testing.assert_allclose(one[term], two[term], atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"background": {"text": np.ones((5, 4))}, "purify": True}, "The background lacks"),
        ({"purify": True, "n_draws": 1}, "n_draws must be an integer of at least 2; got 1"),
        ({"purify": True, "max_evaluations": -1}, "max_evaluations must be an integer"),
        ({"background": make_blocks(5, 3)}, "set purify=True"),
    ],
)
def test_what_cannot_be_purified_is_refused(arguments, message):
    model, X = fit()
    with pytest.raises(ValueError, match=message):
        model.decompose(X, **arguments)


def test_one_row_is_no_background():
    model, X = fit()
    with pytest.raises(ValueError, match="there is 1: pass background="):
        model.decompose(X[[0]], purify=True)
    broken = X.assign(text=np.full((12, 4), np.nan))
    with pytest.raises(ValueError, match="The background lacks 'text' in 12 of 12 rows"):
        model.decompose(X, purify=True, background=broken)


@pytest.mark.parametrize("optimization", ["mro", "smro", "joint"])
@pytest.mark.parametrize("make", [make_additive, make_bimodal, make_trimodal])
def test_purified_terms_are_the_true_ones(make, optimization):
    toy = make(1900, random_state=0)
    train, test = toy.data[:1500], toy.data[1500:]
    model = MRORegressor(
        optimization=optimization,
        fusion="tensor",
        activation="tanh",
        hidden_layer_sizes=(16,),
        tensor_dim=3,
        learning_rate=0.01,
        max_epochs=40,
        early_stopping=False,
        random_state=0,
    ).fit(train, toy.target[:1500])
    pure = model.decompose(test, purify=True, background=train)
    for term in toy.contributions.terms:
        truth = toy.contributions[term][1500:, 0]
        assert np.corrcoef(pure[term][:, 0], truth)[0, 1] > 0.99, term


def test_the_cost_of_a_background_is_counted():
    model, X = fit(n_samples=300)
    few, start = X[:1], time.perf_counter()
    exact = model.decompose(few, purify=True, background=X)
    assert exact.standard_errors is None
    # The mean over all three modalities of the triple is the dear part: 300 * 300 look-ups.
    sampled = model.decompose(few, purify=True, background=X, max_evaluations=100_000, n_draws=50)
    assert sampled.standard_errors is not None
    assert time.perf_counter() - start < 60
    np.testing.assert_allclose(sampled.sum(), exact.sum(), atol=1e-10)
