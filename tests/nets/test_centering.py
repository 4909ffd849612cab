"""IterBN: the paper's equations and examples written out, against the recursion."""

from itertools import combinations, product
from math import factorial

import numpy as np
import pytest
import torch

from sklearn_mmfuse.nets._centering import Products, centering_constants, vbn_scale

N_ROWS = 60


def make_factors(order, dim=2, n=3, seed=0, *, centered=False, weight=None):
    """Correlated features whose mean is not zero: every expectation of eq. 9 counts."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(order, n, N_ROWS, dim, dtype=torch.float64, generator=generator)
    factors = [draw[0] + 0.5]
    for i in range(1, order):
        factors.append(draw[i] + 0.7 * factors[-1] - 0.3)
    if centered:
        share = weight.unsqueeze(-1)
        factors = [f - (share * f).sum(dim=1, keepdim=True) for f in factors]
    return factors


def make_weight(seed=1):
    weight = torch.rand(
        1, N_ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return weight / weight.sum()


EVEN = torch.full((1, N_ROWS), 1 / N_ROWS, dtype=torch.float64)


def disjoint_subsets(indices, count):
    """All ordered tuples of `count` non-empty, disjoint subsets of `indices`."""
    if count == 0:
        yield ()
        return
    for size in range(1, len(indices) + 1):
        for first in combinations(indices, size):
            rest = [i for i in indices if i not in first]
            for others in disjoint_subsets(rest, count - 1):
                yield (first, *others)


def equation_9(columns):
    """Eq. 9 for one-dimensional features, literally; columns `(k, B)`."""
    order = len(columns)
    total = np.zeros(columns.shape[1])
    for count in range(order + 1):
        for subsets in disjoint_subsets(range(order), count):
            left = [i for i in range(order) if not any(i in s for s in subsets)]
            term = np.prod([columns[i] for i in left], axis=0) if left else np.ones(len(total))
            for subset in subsets:
                term = term * np.prod([columns[i] for i in subset], axis=0).mean()
            total = total + (-1) ** count * term
    return total


@pytest.mark.parametrize("order", [2, 3, 4])
def test_equation_9_written_out_for_every_multi_index(order):
    factors = make_factors(order)
    products = Products(factors, EVEN)
    psi = products.centered(centering_constants(products.moments(), order))
    psi = psi.unflatten(2, [2] * order)
    for index in product(range(2), repeat=order):
        for n in range(3):
            columns = np.stack([f[n, :, i].numpy() for f, i in zip(factors, index, strict=True)])
            found = psi[(n, slice(None), *index)].numpy()
            np.testing.assert_allclose(found, equation_9(columns), atol=1e-12)


def columns_of(order, seed=3):
    return np.stack([f[0, :, 0].numpy() for f in make_factors(order, dim=1, n=1, seed=seed)])


def centered_by_code(columns):
    factors = [torch.from_numpy(c).reshape(1, -1, 1) for c in columns]
    products = Products(factors, EVEN)
    constants = centering_constants(products.moments(), len(columns))
    return products.centered(constants)[0, :, 0].numpy()


def test_the_example_of_section_3_3():
    a, b, c = columns_of(3)
    a, b, c = ((x - x.mean()) / x.std() for x in (a, b, c))
    expected = (
        a * b * c
        - (a * b).mean() * c
        - (a * c).mean() * b
        - (b * c).mean() * a
        - (a * b * c).mean()
    )
    np.testing.assert_allclose(centered_by_code(np.stack([a, b, c])), expected, atol=1e-13)


def test_the_example_of_appendix_b_1():
    a, b, c = columns_of(3)

    def mean(*factors):
        return np.prod(factors, axis=0).mean()

    expected = (
        a * b * c
        - (mean(a) * b * c + a * mean(b) * c + a * b * mean(c))
        - (mean(a, b) * c + mean(a, c) * b + mean(b, c) * a)
        - mean(a, b, c)
        + 2 * (mean(a) * mean(b) * c + mean(a) * b * mean(c) + a * mean(b) * mean(c))
        + 2 * (mean(a, b) * mean(c) + mean(a, c) * mean(b) + mean(b, c) * mean(a))
        - 6 * mean(a) * mean(b) * mean(c)
    )
    assert factorial(3) == 6  # the last coefficient counts orders of three sets
    np.testing.assert_allclose(centered_by_code(np.stack([a, b, c])), expected, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_theorem_2_what_multiplies_a_smaller_product_has_mean_zero(order):
    factors = make_factors(order, dim=1)
    constants = centering_constants(Products(factors, EVEN).moments(), order)

    def coefficient(axes):  # G_K of the paper: of the product over K
        rest = tuple(i for i in range(order) if i not in axes)
        return constants[rest].reshape(3, 1) if rest else torch.ones(3, 1)

    for size in range(order):
        for inner in combinations(range(order), size):
            others = [i for i in range(order) if i not in inner]
            total = torch.zeros(3, N_ROWS, dtype=torch.float64)
            for more in range(len(others) + 1):
                for added in combinations(others, more):
                    outer = tuple(sorted(inner + added))
                    of_rows = torch.ones(3, N_ROWS, dtype=torch.float64)
                    for i in added:
                        of_rows = of_rows * factors[i][:, :, 0]
                    total = total + coefficient(outer) * of_rows
            assert total.mean(dim=1).abs().max() < 1e-13, inner


@pytest.mark.parametrize("weights", ["even", "uneven"])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_shortcuts_give_what_the_components_give(order, centered, weights):
    weight = EVEN if weights == "even" else make_weight()
    factors = make_factors(order, dim=3, centered=centered, weight=weight)
    products = Products(factors, weight)
    moments = products.moments(smallest=2 if centered else 1)
    constants = centering_constants(moments, order)
    psi = products.centered(constants)
    assert (weight.unsqueeze(-1) * psi).sum(dim=1).abs().max() < 1e-12
    read = torch.randn(
        3, 3**order, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9)
    )
    torch.testing.assert_close(products.read(constants, read), psi @ read)
    scale = products.scale(constants, moments).flatten()
    torch.testing.assert_close(scale, (weight * psi.square().sum(dim=2)).sum(dim=1).rsqrt())


def test_gradients_go_through_the_statistics():
    factors = [f.requires_grad_() for f in make_factors(3, dim=2, n=1)]
    read = torch.ones(1, 8, 1, dtype=torch.float64)

    def short(*factors):
        products = Products(factors, EVEN)
        moments = products.moments()
        constants = centering_constants(moments, 3)
        scale = products.scale(constants, moments)
        return (products.read(constants, read) * scale)[:, :5]

    assert torch.autograd.gradcheck(short, factors, fast_mode=True)


def test_a_triple_of_correlated_factors_holds_nothing_of_one_of_them():
    # The authors' code flattens the axes of two of the three corrections in the wrong order.
    generator = torch.Generator().manual_seed(0)
    n = 4000
    a, b, c = torch.randn(3, 1, n, 2, dtype=torch.float64, generator=generator)
    c = 0.8 * a + 0.6 * c
    even = torch.full((1, n), 1 / n, dtype=torch.float64)
    factors = [f - f.mean(dim=1, keepdim=True) for f in (a, b, c)]
    products = Products(factors, even)
    psi = products.centered(centering_constants(products.moments(smallest=2), 3))
    design = torch.cat(factors, dim=2)[0].numpy()
    explained = np.linalg.lstsq(design, psi[0].numpy(), rcond=None)[0]
    share = (design @ explained).var(axis=0) / psi[0].numpy().var(axis=0)
    assert share.max() < 0.01


def test_equal_signs_leave_noise_that_is_not_blown_up():
    # The example of section 3.3: f2 = f3 = +-1, so f1 f2 f3 = f1.
    generator = torch.Generator().manual_seed(0)
    n = 10_000
    first = torch.randn(1, n, 1, dtype=torch.float64, generator=generator)
    sign = torch.randn(1, n, 1, dtype=torch.float64, generator=generator).sign()
    even = torch.full((1, n), 1 / n, dtype=torch.float64)
    factors = [f - f.mean(dim=1, keepdim=True) for f in (first, sign, sign)]
    products = Products(factors, even)
    moments = products.moments(smallest=2)
    constants = centering_constants(moments, 3)
    psi = products.centered(constants) * products.scale(constants, moments)
    assert psi.square().mean().sqrt() < 0.2  # the paper's normalization gives 1
    assert abs(np.corrcoef(psi[0, :, 0], first[0, :, 0])[0, 1]) < 0.9


def test_vbn_is_equations_5_to_7():
    weight = EVEN
    (features,) = make_factors(1, dim=4)
    mean = features.mean(dim=1, keepdim=True)
    scale = vbn_scale(features - mean, mean, weight)
    normed = (features - mean) * scale
    torch.testing.assert_close(
        normed.square().sum(dim=2).mean(dim=1), torch.ones(3, dtype=torch.float64)
    )
    variance = ((features - mean) ** 2).sum(dim=2).mean(dim=1)
    torch.testing.assert_close(scale.flatten(), variance.rsqrt())


def test_a_constant_feature_stays_nothing():
    features = torch.full((1, N_ROWS, 2), 0.1) * 3
    mean = features.mean(dim=1, keepdim=True)
    normed = (features - mean) * vbn_scale(features - mean, mean, EVEN.float())
    assert normed.abs().max() < 1e-2
