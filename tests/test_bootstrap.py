"""Bootstrap weights and intervals, over rows and over persons."""

import numpy as np
import pytest

from sklearn_mmfuse import _bootstrap
from sklearn_mmfuse._bootstrap import bootstrap_interval, bootstrap_weights


def test_weights_are_counts_over_their_sum():
    weights = bootstrap_weights(7, 50, random_state=0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)
    np.testing.assert_array_equal(weights, bootstrap_weights(7, 50, random_state=0))
    assert not np.array_equal(bootstrap_weights(7, 50), bootstrap_weights(7, 50))


def test_rows_of_a_person_move_together():
    person = np.array(["b", "a", "b", "c", "a", "b"])
    weights = bootstrap_weights(6, 40, groups=person, random_state=0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    with pytest.raises(ValueError, match=r"each of the 6 samples; got shape \(2,\)"):
        bootstrap_weights(6, 1, groups=[1, 2])
    with pytest.raises(ValueError, match="groups holds a single group"):
        bootstrap_weights(6, 1, groups=["a"] * 6)


def test_intervals_cover_the_mean():
    rng = np.random.default_rng(0)
    hits = []
    for seed in range(300):
        x = rng.normal(size=50)
        low, high = bootstrap_interval(
            lambda weights, x=x: weights @ x,
            50,
            n_bootstrap=300,
            confidence=0.9,
            random_state=seed,
        )
        hits.append(low <= 0 <= high)
    assert 0.85 <= np.mean(hits) <= 0.94  # percentiles are a little narrow at n = 50


def test_replicates_in_blocks_are_the_same_as_at_once(monkeypatch):
    x = np.arange(20.0).reshape(10, 2)
    once = bootstrap_interval(lambda w: w @ x, 10, n_bootstrap=101, confidence=0.95, random_state=0)
    assert once.shape == (2, 2)
    monkeypatch.setattr(_bootstrap, "MAX_WEIGHTS", 70)
    blocks = bootstrap_interval(
        lambda w: w @ x, 10, n_bootstrap=101, confidence=0.95, random_state=0
    )
    np.testing.assert_array_equal(once, blocks)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1; got 95"):
        bootstrap_interval(lambda w: w @ x, 10, n_bootstrap=10, confidence=95)
