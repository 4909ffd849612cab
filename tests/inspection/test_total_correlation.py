"""The stand-alone estimator: against truth, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from sklearn_mmfuse import MultimodalData
from sklearn_mmfuse.inspection import total_correlation


def gaussians(n_modalities, dimension, rho, n=6000, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, dimension))
    return {
        f"m{i}": np.sqrt(rho) * shared + np.sqrt(1 - rho) * rng.normal(size=(n, dimension))
        for i in range(n_modalities)
    }


def truth(n_modalities, dimension, rho):
    m = n_modalities
    return -dimension / 2 * ((m - 1) * np.log(1 - rho) + np.log(1 + (m - 1) * rho))


@pytest.mark.parametrize("dependency", ["kl", "f"])
@pytest.mark.parametrize("cell", [(2, 2, 0.75), (2, 5, 0.6), (3, 2, 0.6)])
def test_gaussians_within_ten_percent(dependency, cell):
    result = total_correlation(
        gaussians(*cell), dependency=dependency, max_steps=400, random_state=0
    )
    exact = truth(*cell)
    assert abs(result.value - exact) < max(0.1, 0.1 * exact)
    assert result.value < exact + 2 * result.standard_error
    low, high = result.interval
    assert low < result.value < high
    assert result.n_test == 900


@pytest.mark.parametrize("dependency", ["kl", "f", "wasserstein"])
def test_independent_modalities_have_none(dependency):
    result = total_correlation(
        gaussians(3, 3, 0.0), dependency=dependency, max_steps=150, random_state=0
    )
    assert abs(result.value) <= 3 * result.standard_error + 1e-12
    assert abs(result.value) < 0.05


def test_wasserstein_grows_with_the_correlation():
    values = [
        total_correlation(
            gaussians(2, 3, rho, 3000), dependency="wasserstein", max_steps=150, random_state=0
        ).value
        for rho in (0.0, 0.3, 0.6, 0.9)
    ]
    assert (np.diff(values) > 0.1).all()


def test_three_modalities_that_depend_only_together():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(6000, 2))
    X = {"a": signs[:, :1], "b": signs[:, 1:], "c": signs.prod(axis=1, keepdims=True)}
    X = {name: block + 0.1 * rng.normal(size=block.shape) for name, block in X.items()}
    three = total_correlation(X, max_steps=600, random_state=0)
    assert 0.6 < three.value < np.log(2) + 2 * three.standard_error
    two = total_correlation({name: X[name] for name in "ab"}, max_steps=200, random_state=0)
    assert abs(two.value) < 0.05


def test_every_form_of_data_is_the_same():
    X = gaussians(2, 2, 0.8, 400)
    frame = pd.concat({name: pd.DataFrame(block) for name, block in X.items()}, axis=1)
    array = np.hstack(list(X.values()))
    slices = {"m0": [0, 1], "m1": [2, 3]}
    options = {"max_steps": 50, "random_state": 0}
    values = [
        total_correlation(MultimodalData(X), **options).value,
        total_correlation(frame, **options).value,
        total_correlation(array, modalities=slices, **options).value,
        total_correlation(dict(reversed(X.items())), **options).value,
        total_correlation({**X, "more": X["m0"]}, modalities=["m0", "m1"], **options).value,
    ]
    assert len(set(values)) == 1


def test_scales_and_constants_change_nothing():
    X = gaussians(2, 2, 0.8, 400)
    moved = {"m0": 1e8 + 5 * X["m0"], "m1": np.hstack([X["m1"], np.full((400, 1), 7.0)])}
    options = {"max_steps": 50, "random_state": 0}
    plain, other = (total_correlation(data, **options) for data in (X, moved))
    assert np.isfinite(other.value)
    assert other.value == pytest.approx(plain.value, abs=0.2)


def test_persons_stay_together_and_widen_the_interval():
    X = gaussians(2, 2, 0.8, 100)
    repeated = {name: np.repeat(block, 20, axis=0) for name, block in X.items()}
    person = np.repeat(np.arange(100), 20)
    options = {"max_steps": 100, "random_state": 0}
    alone = total_correlation(repeated, **options)
    grouped = total_correlation(repeated, groups=person, **options)
    assert grouped.n_test == 300
    # Rows of the same persons are on both sides without groups: the critic knows them by heart.
    assert alone.value > grouped.value
    if grouped.n_steps:
        assert grouped.standard_error > 2 * alone.standard_error


def test_bad_input():
    X = gaussians(2, 2, 0.5, 100)
    with pytest.raises(ValueError, match="X has only 'm0'; pass at least two"):
        total_correlation({"m0": X["m0"]})
    with pytest.raises(ValueError, match=r"'m2' has more axes\. Summarize it"):
        total_correlation({**X, "m2": np.zeros((100, 3, 2))})
    with pytest.raises(ValueError, match="X has 10 rows"):
        total_correlation({name: block[:10] for name, block in X.items()})
    with pytest.raises(ValueError, match="groups holds 4, to be divided"):
        total_correlation(X, groups=np.arange(100) % 4)
    with pytest.raises(ValueError, match="dependency must be one of"):
        total_correlation(X, dependency="mi")
    with pytest.raises(ValueError, match=r"test_fraction must be between 0 and 1; got 1\.5"):
        total_correlation(X, test_fraction=1.5)
    with pytest.raises(ValueError, match="leave no rows to train on"):
        total_correlation(X, test_fraction=0.5, validation_fraction=0.5)
    with pytest.raises(ValueError, match="max_steps must be an integer of at least 1; got 0"):
        total_correlation(X, max_steps=0)
    for hidden in ((0,), None):
        with pytest.raises(ValueError, match="hidden_layer_sizes must hold positive integers"):
            total_correlation(X, hidden_layer_sizes=hidden)
    with pytest.raises(ValueError, match="leave 1 rows in one part"):
        total_correlation(X, test_fraction=0.001)
    with pytest.raises(ValueError, match=r"'m0' has values beyond 1e\+100"):
        total_correlation({**X, "m0": 1e200 * X["m0"]})
    with pytest.raises(ValueError, match="confidence"):
        total_correlation(X, confidence=95)
