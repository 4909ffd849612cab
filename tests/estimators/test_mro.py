"""What is particular to MRO: products beside perceptrons, and what constants do to its terms."""

import numpy as np
import pytest

from sklearn_mmfuse import MRORegressor, RoutingRegressor
from sklearn_mmfuse.datasets import make_bimodal, make_trimodal

TRAIN, TEST = slice(1500), slice(1500, None)


def test_a_product_of_three_is_learned_and_told():
    toy = make_trimodal(2000, n_features=2, noise=0.3, random_state=1)
    model = MRORegressor(random_state=0).fit(toy.data[TRAIN], toy.target[TRAIN])
    assert model.score(toy.data[TEST], toy.target[TEST]) > 0.85  # 0.45 without products
    triple = "acoustic × text × vision"
    found = model.decompose(toy.data[TEST], purify=True)[triple][:, 0]
    assert np.corrcoef(found, toy.contributions[triple][TEST, 0])[0, 1] > 0.9
    assert model.relevance_scores_.idxmax() == triple


@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_unimodal_terms_are_the_same_with_and_without_products(optimization):
    toy = make_bimodal(120, n_features=2, random_state=0)
    unimodal, pairs = [], []
    for rank in (0, 3):
        model = MRORegressor(
            product_rank=rank,
            optimization=optimization,
            max_epochs=5,
            early_stopping=False,
            max_grad_norm=None,  # the length of all gradients together
            dtype="float64",
            random_state=0,
        )
        parts = model.fit(toy.data, toy.target).decompose(toy.data)
        single = [term for term in parts.terms if term.order == 1]
        unimodal.append(np.stack([parts[term] for term in single]))
        pairs.append(np.stack([parts[term] for term in parts.interactions()]))
    np.testing.assert_allclose(*unimodal, rtol=1e-9)
    assert np.abs(pairs[0] - pairs[1]).max() > 1e-3


@pytest.mark.parametrize("share_encoders", [False, True])
@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_higher_orders_leave_lower_ones_as_they_are(optimization, share_encoders):
    toy = make_trimodal(120, n_features=2, random_state=0)
    found = []
    for max_order in (2, 3):
        model = MRORegressor(
            max_order=max_order,
            optimization=optimization,
            share_encoders=share_encoders,
            max_epochs=5,
            early_stopping=False,
            max_grad_norm=None,
            dropout=0.0,  # a mask covers all terms
            dtype="float64",
            random_state=0,
        )
        parts = model.fit(toy.data, toy.target).decompose(toy.data)
        found.append(np.stack([parts[term] for term in parts.terms if term.order < 3]))
    np.testing.assert_allclose(*found, atol=1e-9)


def test_without_hidden_layers_everything_stays_linear():
    toy = make_bimodal(80, n_features=2, random_state=0)
    params = {"hidden_layer_sizes": (), "max_epochs": 5, "random_state": 0}
    found = [
        MRORegressor(product_rank=rank, **params).fit(toy.data, toy.target).predict(toy.data)
        for rank in (0, 2)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("cls", [MRORegressor, RoutingRegressor])
def test_interactions_with_a_constant_are_told_of(cls):
    X = {"a": np.ones((20, 2)), "v": np.arange(20.0)[:, np.newaxis]}
    with pytest.warns(UserWarning, match=r"\['a'\] are constant: they tell nothing, and what"):
        cls(max_epochs=1).fit(X, X["v"][:, 0])
    cls(max_epochs=1, max_order=1).fit(X, X["v"][:, 0])  # nothing is taken from anyone
