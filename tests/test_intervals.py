"""Bootstrap weights and intervals, over rows and over persons; means and their intervals."""

import numpy as np
import pytest

from sklearn_mmfuse import _intervals
from sklearn_mmfuse._intervals import bootstrap_interval, bootstrap_weights, mean_interval


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
    monkeypatch.setattr(_intervals, "MAX_WEIGHTS", 70)
    blocks = bootstrap_interval(
        lambda w: w @ x, 10, n_bootstrap=101, confidence=0.95, random_state=0
    )
    np.testing.assert_array_equal(once, blocks)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1; got 95"):
        bootstrap_interval(lambda w: w @ x, 10, n_bootstrap=10, confidence=95)


def test_a_mean_has_the_interval_of_equation_4():
    x = np.random.default_rng(0).gamma(2.0, size=(300, 2))
    mean, interval = mean_interval(x, confidence=0.9)
    error = x.std(axis=0, ddof=1) / np.sqrt(300)
    np.testing.assert_allclose(mean, x.mean(axis=0))
    np.testing.assert_allclose(interval[:, 1] - mean, 1.644854 * error, rtol=1e-6)
    np.testing.assert_allclose(mean - interval[:, 0], 1.644854 * error, rtol=1e-6)


def test_integer_weights_move_a_mean_as_repeated_rows_of_one_person_do():
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=30), rng.integers(1, 4, 30)
    person = np.arange(30)
    weighted = mean_interval(x, confidence=0.95, weight=weight.astype(float), groups=person)
    repeated = mean_interval(
        np.repeat(x, weight), confidence=0.95, groups=np.repeat(person, weight)
    )
    for one, other in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(one, other)


def test_intervals_over_persons_cover_where_those_over_rows_do_not():
    rng = np.random.default_rng(2)
    person = np.repeat(np.arange(12), 20)
    covered = np.zeros(2)
    for _ in range(400):
        x = rng.normal(size=12)[person] + 0.5 * rng.normal(size=240)
        for position, groups in enumerate((person, None)):
            _, (low, high) = mean_interval(x, confidence=0.95, groups=groups)
            covered[position] += low <= 0 <= high
    assert covered[0] / 400 == pytest.approx(0.95, abs=0.035)
    assert covered[1] / 400 < 0.5


def test_rows_without_a_value_and_too_few_of_them():
    x = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan], [np.nan, np.nan, np.nan]])
    mean, interval = mean_interval(x, confidence=0.95)
    np.testing.assert_array_equal(mean, [2.0, 5.0, np.nan])
    assert np.isfinite(interval[0]).all()
    assert np.isnan(interval[1:]).all()
    assert np.isnan(mean_interval(x, confidence=0.95, groups=["a", "a", "b"])[1]).all()
    assert np.isnan(mean_interval(x, confidence=0.95, groups=["a"] * 3)[1]).all()
