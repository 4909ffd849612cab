"""The block norm: its proximal step and relevances, against numerical optimization."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sklearn_mmfuse.losses import block_relevances, shrink_blocks

NORMS = np.array([2.0, 1.5, 0.4, 0.05])
positive = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)


@pytest.mark.parametrize("p", [1.0, 1.2, 2.0, 5.0])
@pytest.mark.parametrize("step", [0.01, 0.2, 3.0])
def test_the_proximal_step_minimizes_what_it_should(p, step):
    q = 2 * p / (p + 1)

    def objective(x):
        return 0.5 * ((x - NORMS) ** 2).sum() + step * (x**q).sum() ** (2 / q)

    found = shrink_blocks(torch.tensor(NORMS)[None], torch.tensor([[step]]).double(), q)[0].numpy()
    best = min(
        (
            minimize(objective, start, bounds=[(0, None)] * 4, method="L-BFGS-B", tol=1e-14)
            for start in (NORMS, NORMS / 10, np.full(4, 1e-3))
        ),
        key=lambda result: result.fun,
    )
    assert objective(found) <= best.fun + 1e-9
    np.testing.assert_allclose(found, best.x, atol=2e-4)


def test_small_blocks_become_exactly_zero_with_p_1_alone():
    step = torch.tensor([[0.5]]).double()
    assert (shrink_blocks(torch.tensor(NORMS)[None], step, 1.0)[0] == 0).sum() == 2
    assert (shrink_blocks(torch.tensor(NORMS)[None], step, 1.5)[0] > 0).all()


@given(positive, st.floats(1.0, 20.0))
@settings(deadline=None)
def test_relevances_have_unit_norm_whatever_the_scale(norms, p):
    norms = torch.tensor(norms).double()
    beta = block_relevances(norms, p)
    assert float(beta.pow(p).sum().pow(1 / p)) == pytest.approx(1.0, abs=1e-9)
    torch.testing.assert_close(block_relevances(norms * 1e-7, p), beta)


@pytest.mark.parametrize("p", [1.0, 2.0, 5.0])
def test_relevances_are_the_weights_of_proposition_a_3(p):
    """They minimize the sum of norm^2 / beta on the sphere, whose minimum is the penalty."""
    beta = block_relevances(torch.tensor(NORMS), p).numpy()

    def objective(log_beta):
        weights = np.exp(log_beta)
        return (NORMS**2 * (weights**p).sum() ** (1 / p) / weights).sum()

    best = minimize(objective, np.zeros(4), tol=1e-14)
    expected = np.exp(best.x) / (np.exp(best.x) ** p).sum() ** (1 / p)
    np.testing.assert_allclose(beta, expected, atol=1e-4)
    q = 2 * p / (p + 1)
    assert (NORMS**2 / beta).sum() == pytest.approx((NORMS**q).sum() ** (2 / q))


def test_no_weight_at_all_has_no_relevance():
    assert (block_relevances(torch.zeros(2, 3), 1.0) == 0).all()
    zero = torch.zeros(1, 3).double()
    for q in (1.0, 1.5, 2.0):
        assert (shrink_blocks(zero, torch.ones(1, 1).double(), q) == 0).all()


def test_sets_of_blocks_are_shrunk_each_for_itself():
    norms = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)).double()
    steps = torch.tensor([[0.1], [0.2], [0.5], [1.0], [0.0]]).double()
    for q in (1.0, 4 / 3, 2.0):
        together = shrink_blocks(norms, steps, q)
        for i in range(5):
            alone = shrink_blocks(norms[i : i + 1], steps[i : i + 1], q)[0]
            torch.testing.assert_close(together[i], alone)
        torch.testing.assert_close(together[4], norms[4])


@given(positive, st.floats(1.0, 30.0), st.floats(1e-4, 1e2))
@settings(deadline=None)
def test_the_proximal_step_is_stationary_for_every_p(norms, p, step):
    norms, q = torch.tensor(norms).double()[None], 2 * p / (p + 1)
    x = shrink_blocks(norms, torch.tensor([[step]]).double(), q)
    assert ((x >= 0) & (x <= norms)).all()
    largest = x == x.amax()
    size = x.pow(q).sum().pow((2 - q) / q)
    residual = x + 2 * step * size * x.pow(q - 1) - norms
    assert (residual[largest].abs() <= 1e-6 * norms[largest]).all()
    plain = shrink_blocks(norms, torch.tensor([[step]]).double(), 1.0)
    objective = [
        0.5 * (w - norms).square().sum() + step * w.pow(q).sum().pow(2 / q) for w in (x, plain)
    ]
    assert objective[0] <= objective[1] * (1 + 1e-9)
