"""make_switching: what it says it is."""

import numpy as np
import pytest

from sklearn_mmfuse.datasets import make_switching


@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_context_says_who_holds_the_label(n_classes):
    toy = make_switching(3000, n_classes=n_classes, noise=0.0, random_state=0)
    first = toy.data["context"][:, 0] > 0
    np.testing.assert_array_equal(toy.relevant == "first", first)
    np.testing.assert_array_equal(toy.data["first"].argmax(axis=1), toy.labels["first"])
    np.testing.assert_array_equal(toy.data["second"].argmax(axis=1), toy.labels["second"])
    np.testing.assert_array_equal(
        toy.target, np.where(first, toy.labels["first"], toy.labels["second"])
    )
    assert np.unique(toy.target).tolist() == list(range(n_classes))
    np.testing.assert_allclose(toy.contributions.sum(), np.eye(n_classes)[toy.target], atol=1e-12)
    assert np.abs(toy.contributions.values.mean(axis=0)).max() < 0.05


def test_noise_is_on_the_features_alone_and_a_seed_is_a_seed():
    clean, noisy = (make_switching(50, noise=n, random_state=1) for n in (0.0, 1.0))
    np.testing.assert_array_equal(clean.target, noisy.target)
    np.testing.assert_array_equal(clean.data["context"], noisy.data["context"])
    assert not np.array_equal(clean.data["first"], noisy.data["first"])
    again = make_switching(50, noise=1.0, random_state=1)
    np.testing.assert_array_equal(again.data["second"], noisy.data["second"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a positive integer"),
        ({"n_classes": 1}, "n_classes must be an integer of at least 2; got 1"),
        ({"noise": -1}, "noise must be a standard deviation"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        make_switching(**params)
