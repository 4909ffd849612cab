"""Made-up data: the target is the sum of its true contributions, and of the noise."""

import numpy as np
import pytest

from sklearn_mmfuse.datasets import (
    make_additive,
    make_bimodal,
    make_redundant,
    make_redundant_interactions,
    make_trimodal,
)

PRODUCTS = {make_additive: 1, make_bimodal: 2, make_trimodal: 3}
ALL = [*PRODUCTS, make_redundant, make_redundant_interactions]


@pytest.mark.parametrize("make", ALL)
def test_contributions_add_up_to_the_target_but_for_the_noise(make):
    clean, noisy = make(4000, random_state=0), make(4000, noise=0.5, random_state=0)
    np.testing.assert_allclose(clean.contributions.sum()[:, 0], clean.target, atol=1e-12)
    noise = noisy.target - noisy.contributions.sum()[:, 0]
    assert noise.std() == pytest.approx(0.5, abs=0.02)
    # Noise comes last: the features are the same with and without.
    for name in clean.data:
        np.testing.assert_array_equal(clean.data[name], noisy.data[name])
    assert clean.DESCR.startswith("y = ")


@pytest.mark.parametrize("make", ALL)
def test_a_seed_reproduces_and_none_is_fresh(make):
    one, two = make(20, random_state=3), make(20, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(one.target, two.target)
    assert not np.array_equal(make(20).target, make(20).target)


@pytest.mark.parametrize(("make", "order"), PRODUCTS.items())
def test_only_the_first_feature_of_a_modality_matters(make, order):
    toy = make(50, n_features=3, random_state=0)
    a, t, v = (toy.data[name][:, 0] for name in ("acoustic", "text", "vision"))
    truth = {1: a + t + v, 2: t * v + t * a + v * a, 3: a * t * v}[order]
    np.testing.assert_allclose(toy.target, truth, atol=1e-12)
    assert toy.data["text"].shape == (50, 3)
    assert {term.order for term in toy.contributions.terms} == {order}


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_redundant_latents_are_where_the_paper_puts_them(n_modalities):
    toy = make_redundant(3000, n_modalities=n_modalities, random_state=0)
    latents = toy.latents
    np.testing.assert_array_equal(toy.data["A"], latents[["u_A", "r_AB", "r_AC"]])
    np.testing.assert_array_equal(toy.data["B"], latents[["u_B", "r_AB", "r_BC"]])
    np.testing.assert_allclose(toy.target, latents.sum(axis=1), atol=1e-12)
    parts = toy.contributions
    np.testing.assert_array_equal(parts["A × B (redundant)"][:, 0], latents["r_AB"])
    if n_modalities == 3:
        np.testing.assert_array_equal(toy.data["C"], latents[["u_C", "r_AC", "r_BC"]])
        np.testing.assert_array_equal(parts["A (unique)"][:, 0], latents["u_A"])
        assert len(parts.terms) == 6
    else:
        assert list(toy.data) == ["A", "B"]
        unique = latents["u_A"] + latents["r_AC"]
        np.testing.assert_array_equal(parts["A (unique)"][:, 0], unique)
        rest = toy.target - parts.sum()[:, 0]
        np.testing.assert_allclose(rest, latents["u_C"], atol=1e-12)


def test_redundant_interactions():
    toy = make_redundant_interactions(100, random_state=0)
    latents = toy.latents
    np.testing.assert_array_equal(toy.data["A"], latents[["u_A", "r_AB"]])
    np.testing.assert_array_equal(toy.data["B"], latents[["u_B", "r_AB"]])
    np.testing.assert_array_equal(toy.data["C"], latents[["u_C"]])
    parts = toy.contributions
    np.testing.assert_allclose(
        parts["A × B (unique)"][:, 0], latents["u_A"] * latents["u_B"], atol=1e-12
    )
    np.testing.assert_allclose(
        parts["A × B × C (redundant)"][:, 0], latents["u_C"] * latents["r_AB"], atol=1e-12
    )


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_additive, {"n_samples": 0}, "n_samples must be a positive integer; got 0"),
        (make_bimodal, {"n_features": 1.5}, "n_features must be a positive integer; got 1.5"),
        (make_trimodal, {"noise": -1}, "noise must be a standard deviation, 0 or more; got -1"),
        (make_redundant, {"n_modalities": 4}, "n_modalities must be 2 or 3; got 4"),
        (make_redundant, {"n_modalities": 2.0}, "n_modalities must be 2 or 3; got 2.0"),
        (make_redundant_interactions, {"noise": np.nan}, "noise must be"),
    ],
)
def test_what_cannot_be_made_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
