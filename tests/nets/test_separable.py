"""Averaging a modality out of a term: closed forms against every combination."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse._effects import Pool, exact_effects, pure_effects, subsets
from sklearn_mmfuse._terms import interaction_terms
from sklearn_mmfuse.nets import make_mro_net
from sklearn_mmfuse.nets._separable import LowRankTerm, mean_of_relu

WIDTHS = {"a": 3, "t": 2, "v": 2, "w": 1}


def make_net(fusion, share, hidden, activation="relu", n_modalities=3, optimization="mro", E=1):
    names = list(WIDTHS)[:n_modalities]
    net = make_mro_net(
        optimization=optimization,
        terms=interaction_terms(names, n_modalities),
        in_features={name: WIDTHS[name] for name in names},
        n_outputs=2,
        n_members=E,
        input_scaling="standard",
        stop_gradient=True,
        fusion=fusion,
        share_encoders=share,
        hidden=hidden,
        activation=activation,
        tensor_dim=3,
        product_rank=2,
    )
    net.reset_parameters([torch.Generator().manual_seed(e) for e in range(E)])
    for parameter in net.parameters():  # biases start at zero, which would hide one forgotten
        parameter.data += 0.1
    return net.double()


def make_rows(n, n_modalities=3):
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(n, WIDTHS[name], dtype=torch.float64, generator=generator)
        for name in list(WIDTHS)[:n_modalities]
    }


CONFIGS = [
    (fusion, share, hidden, activation)
    for fusion in ("concat", "tensor")
    for share in (False, True)
    for hidden, activation in (((), "relu"), ((5,), "relu"), ((5,), "gelu"), ((5, 4), "relu"))
]


@torch.no_grad()
@pytest.mark.parametrize(("fusion", "share", "hidden", "activation"), CONFIGS)
@pytest.mark.parametrize("optimization", ["mro", "smro", "single"])
def test_separated_terms_are_the_terms(fusion, share, hidden, activation, optimization):
    net = make_net(fusion, share, hidden, activation, optimization=optimization, E=2)
    X = make_rows(7)
    values = net(X).terms
    separated = net.separate(X)
    assert {term.terms[0] for term in separated} == set(values)
    rows = np.arange(7)
    for key, value in values.items():  # a term may have several parts
        parts = [term for term in separated if term.terms == (key,)]
        found = sum(part.evaluate(dict.fromkeys(part.names, rows)) for part in parts)
        np.testing.assert_allclose(found, value.mean(0), atol=1e-12)
    multiplies = fusion == "concat" and (hidden or share)  # what is linear stays linear
    n_products = sum(term.order > 1 for term in values) if multiplies else 0
    assert len(separated) == len(values) + n_products


@torch.no_grad()
@pytest.mark.parametrize("n_background", [None, 4])
@pytest.mark.parametrize("n_modalities", [2, 3, 4])
@pytest.mark.parametrize(("fusion", "share", "hidden", "activation"), CONFIGS)
def test_closed_forms_are_the_averages_over_every_combination(
    fusion, share, hidden, activation, n_modalities, n_background
):
    net = make_net(fusion, share, hidden, activation, n_modalities, E=2)
    pool = Pool(5, n_background)
    checked = 0
    for term in net.separate(make_rows(5 + (n_background or 0), n_modalities)):
        if term.closed_cost(pool) is None:
            continue
        names = term.names
        exact = exact_effects(term.evaluate, names, pool, len(names))
        means, wanted = term.closed_means(pool), subsets(names, len(names))
        np.testing.assert_allclose(means[()], exact.constant, atol=1e-12)
        for subset, effect in zip(wanted, pure_effects(means, wanted), strict=True):
            np.testing.assert_allclose(effect, exact.values[subset], atol=1e-12)
        checked += not isinstance(term, LowRankTerm)
    closed = fusion == "tensor" or hidden == () or (hidden == (5,) and activation == "relu")
    # A shared encoder in front makes every head one relu layer, or a product.
    assert (checked == 2**n_modalities - 1) or not closed


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_mean_of_a_relu_is_that_over_every_combination(k):
    rng = np.random.default_rng(0)
    known, others = rng.normal(size=9), [rng.normal(size=5 + i) for i in range(k)]
    total = known
    for other in others:
        total = np.add.outer(total, other)
    expected = np.maximum(total, 0).reshape(9, -1).mean(axis=1)
    np.testing.assert_allclose(mean_of_relu(known, others), expected, atol=1e-14)
    # Ties: the relu starts exactly at a number.
    np.testing.assert_allclose(mean_of_relu(np.array([1.0]), [np.array([-1.0, -1.0, 2.0])]), [1.0])
