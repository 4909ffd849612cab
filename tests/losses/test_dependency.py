"""Bounds of dependency: closed forms, and the gradient with a moving average."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse.losses import DEPENDENCIES, DependencyGain, dependency_bound, shuffled_term


def equal(n):
    return torch.full((n,), 1.0 / n, dtype=torch.float64)


def draw(n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, n, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_bounds_are_their_equations():
    joint, shuffled = draw()
    shares = equal(200), equal(200)
    expected = {
        "wasserstein": joint.mean(1) - shuffled.mean(1),
        "kl": joint.mean(1) - shuffled.exp().mean(1).log(),
        "f": joint.mean(1) - (shuffled - 1).exp().mean(1),
    }
    for dependency in DEPENDENCIES:
        bound = dependency_bound(dependency, joint, shuffled, shares)
        torch.testing.assert_close(bound, expected[dependency])


def test_kl_is_no_less_than_f_and_the_same_where_the_mean_of_e_is_one():
    joint, shuffled = draw()
    shares = equal(200), equal(200)
    kl, f = (dependency_bound(which, joint, shuffled, shares) for which in ("kl", "f"))
    assert (kl >= f).all()
    shift = shuffled_term("kl", shuffled, shares[1]).unsqueeze(1) - 1.0
    at_best = dependency_bound("f", joint - shift, shuffled - shift, shares)
    torch.testing.assert_close(at_best, kl)


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_a_weight_of_two_is_the_row_twice_and_of_zero_none(dependency):
    joint, shuffled = draw(6)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    rows = [0, 1, 1, 3, 4, 5]
    weighted = dependency_bound(dependency, joint, shuffled, (weight / 6, weight / 6))
    repeated = dependency_bound(dependency, joint[:, rows], shuffled[:, rows], (equal(6), equal(6)))
    torch.testing.assert_close(weighted, repeated)


def test_the_true_log_ratio_of_gaussians_gives_their_mutual_information():
    rng = np.random.default_rng(0)
    rho, n = 0.8, 200_000
    x = rng.normal(size=n)
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)

    def log_ratio(x, y):
        quadratic = rho**2 * (x**2 + y**2) - 2 * rho * x * y
        return torch.tensor(-0.5 * np.log(1 - rho**2) - quadratic / (2 * (1 - rho**2)))

    joint, shuffled = log_ratio(x, y), log_ratio(x, rng.permutation(y))
    truth = -0.5 * np.log(1 - rho**2)
    shares = equal(n), equal(n)
    assert float(dependency_bound("kl", joint, shuffled, shares)) == pytest.approx(truth, abs=0.01)
    f = dependency_bound("f", joint + 1, shuffled + 1, shares)
    assert float(f) == pytest.approx(truth, abs=0.02)


def gradient(gain, joint, shuffled, update):
    t = shuffled.clone().requires_grad_()
    n = shuffled.shape[1]
    gain(joint, t, (equal(n), equal(n)), update=update).sum().backward()
    return t.grad


def test_the_gradient_of_kl_divides_by_the_moving_average():
    joint, first = draw(50)
    _, second = draw(50, seed=1)
    gain = DependencyGain("kl")
    one = gradient(gain, joint, first, update=True)
    torch.testing.assert_close(one, -first.exp() / first.exp().sum(1, keepdim=True))
    average = 0.9 * first.exp().mean(1) + 0.1 * second.exp().mean(1)
    two = gradient(gain, joint, second, update=True)
    torch.testing.assert_close(two, -second.exp() / 50 / average.unsqueeze(1))
    again = gradient(gain, joint, first, update=False)
    torch.testing.assert_close(again, -first.exp() / 50 / average.unsqueeze(1))
    shares = equal(50), equal(50)
    value = gain(joint, first, shares, update=False)
    torch.testing.assert_close(value, dependency_bound("kl", joint, first, shares))


@pytest.mark.parametrize("dependency", ["f", "wasserstein"])
def test_other_bounds_are_climbed_as_they_are(dependency):
    joint, shuffled = draw()
    shares = equal(200), equal(200)
    gain = DependencyGain(dependency)(joint, shuffled, shares, update=True)
    torch.testing.assert_close(gain, dependency_bound(dependency, joint, shuffled, shares))
