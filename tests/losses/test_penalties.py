"""The penalties against the papers' equations, written out."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.losses import SMURFPenalty, SoftHGRPenalty, weighted_covariance
from sklearn_mmfuse.nets import FusionOutput, smurf_terms

B = 40


def output_of(terms, n_outputs, members=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(
        members, len(terms), B, n_outputs, generator=generator, dtype=torch.float64
    )
    bias = torch.zeros(members, n_outputs, dtype=torch.float64)
    return FusionOutput(tuple(terms), values, bias, values.sum(1).unsqueeze(0))


def cov(a, b):
    """Equation 6."""
    return ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1)


def hgr(a, b):
    """One pair of equation 8."""
    return -cov(a, b) + cov(a, a) * cov(b, b) / 2


def literal(output, names, n_outputs):
    """Equations 12 to 15 for one member."""
    y = {term: value[0] for term, value in output.terms.items()}
    if n_outputs > 1:
        y = {term: value - value.mean(dim=1, keepdim=True) for term, value in y.items()}
    m, total = len(names), 0.0
    for k in range(n_outputs):
        uncor = sum(
            cov(y[Term([i], "unique")][:, k], y[Term([i], "redundant", [j])][:, k]).abs()
            for i in names
            for j in names
            if i != j
        ) / (m**2 - m)
        cor = (
            sum(
                hgr(y[Term([i], "redundant", [j])][:, k], y[Term([j], "redundant", [i])][:, k])
                for i in names
                for j in names
                if i < j
            )
            * 2
            / (m**2 - m)
        )
        total = total + (uncor + cor) / n_outputs
    return total


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_the_smurf_penalty_is_equations_12_to_15(names, n_outputs):
    output = output_of(smurf_terms(list(names), 1), n_outputs)
    penalty = SMURFPenalty(output.keys, reg_lambda=0.3, balance=False)
    found = penalty(output, torch.ones(B, dtype=torch.float64))
    assert found.shape == (1,)
    torch.testing.assert_close(found[0], 0.3 * literal(output, list(names), n_outputs))


def test_higher_orders_have_parts_of_their_own():
    terms = smurf_terms(["a", "b", "c"], 3)
    output = output_of(terms, 1)
    found = SMURFPenalty(terms, reg_lambda=1.0, balance=False)(output, torch.ones(B).double())
    y = {str(term): value[0, :, 0] for term, value in output.terms.items()}
    # Equations 30 and 31: twelve covariances and six pairs, in two orders.
    uncor = [
        cov(y["a (unique)"], y["a (redundant with b)"]),
        cov(y["a (unique)"], y["a (redundant with c)"]),
        cov(y["b (unique)"], y["b (redundant with a)"]),
        cov(y["b (unique)"], y["b (redundant with c)"]),
        cov(y["c (unique)"], y["c (redundant with a)"]),
        cov(y["c (unique)"], y["c (redundant with b)"]),
        cov(y["a × b (unique)"], y["a × b (redundant with a × c)"]),
        cov(y["a × b (unique)"], y["a × b (redundant with b × c)"]),
        cov(y["a × c (unique)"], y["a × c (redundant with a × b)"]),
        cov(y["a × c (unique)"], y["a × c (redundant with b × c)"]),
        cov(y["b × c (unique)"], y["b × c (redundant with a × b)"]),
        cov(y["b × c (unique)"], y["b × c (redundant with a × c)"]),
    ]
    cor = [
        hgr(y["a (redundant with b)"], y["b (redundant with a)"]),
        hgr(y["a (redundant with c)"], y["c (redundant with a)"]),
        hgr(y["b (redundant with c)"], y["c (redundant with b)"]),
        hgr(y["a × b (redundant with a × c)"], y["a × c (redundant with a × b)"]),
        hgr(y["a × b (redundant with b × c)"], y["b × c (redundant with a × b)"]),
        hgr(y["a × c (redundant with b × c)"], y["b × c (redundant with a × c)"]),
    ]
    expected = torch.stack(uncor).abs().mean() + torch.stack(cor).mean()
    torch.testing.assert_close(found[0], expected)
    assert "a × b × c (unique)" in y


def test_covariances_are_those_of_numpy_and_weights_are_relative():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, B, generator=generator, dtype=torch.float64)
    found = weighted_covariance(x, torch.full((B,), 3.0, dtype=torch.float64))
    np.testing.assert_allclose(found[1], np.cov(x[1]), atol=1e-12)
    weight = torch.rand(B, generator=generator, dtype=torch.float64)
    found = weighted_covariance(x, weight)
    np.testing.assert_allclose(found[0], np.cov(x[0], aweights=weight), atol=1e-12)
    torch.testing.assert_close(found, weighted_covariance(x, 10 * weight))
    some = (weight > 0.5).double()  # rows without weight are as good as absent
    torch.testing.assert_close(
        weighted_covariance(x, some), weighted_covariance(x[..., some > 0], some[some > 0])
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unbiased", [True, False])
def test_what_none_or_one_of_the_rows_has_varies_with_nothing(dtype, unbiased):
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype) + 10.0
    x.requires_grad_()
    weight = torch.tensor([0.3, 1.7, 0.9, 1.1, 0.7], dtype=dtype)
    # The first two share two rows, the first and the last one row, the other two none.
    present = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [1, 0, 0, 1, 1]])
    found = weighted_covariance(x, weight, present, unbiased=unbiased)
    both = x[:2, 1:3].detach()
    torch.testing.assert_close(
        found[0, 1],
        weighted_covariance(both, weight[1:3], unbiased=unbiased)[0, 1],
        rtol=1e-3,
        atol=1e-3,
    )
    assert abs(found[0, 2]) < 1e-4
    assert found[1, 2] == 0.0
    alone = weighted_covariance(x[:, :1], weight[:1], unbiased=unbiased)
    assert (alone == 0.0).all()
    (found.sum() + alone.sum()).backward()
    assert x.grad.isfinite().all()


def test_a_balanced_penalty_has_its_minimum_where_both_parts_are_alike():
    terms = smurf_terms(["a", "b"], 1)
    signal = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def penalty_of(scale, unique, *, balance, share=1.0):
        parts = {
            "a (unique)": unique,
            "a (redundant with b)": scale * signal,
            "b (unique)": torch.zeros(200).double(),
            "b (redundant with a)": share / scale * signal,
        }
        values = torch.stack([parts[str(term)] for term in terms])[None, :, :, None]
        output = FusionOutput(terms, values, torch.zeros(1, 1).double(), values)
        penalty = SMURFPenalty(terms, reg_lambda=1.0, balance=balance)
        return float(penalty(output, torch.ones(200).double()))

    # The paper's L_cor is the same for (a y, y / a).
    plain = [penalty_of(scale, noise * 0, balance=False) for scale in (1.0, 2.0, 5.0)]
    np.testing.assert_allclose(plain, plain[0])
    balanced = [penalty_of(scale, noise * 0, balance=True) for scale in (1.0, 2.0, 5.0)]
    assert balanced[0] < balanced[1] < balanced[2]
    # A correlated unique part costs, in either.
    for balance in (True, False):
        apart = penalty_of(1.0, noise, balance=balance)
        assert penalty_of(1.0, noise + signal, balance=balance) > apart + 0.1
    # In units of its own spread, a perfectly redundant pair gains nothing by growing.
    perfect = penalty_of(1.0, noise * 0, balance=True, share=1.0)
    assert perfect == pytest.approx(-0.5, abs=0.01)


def test_the_gradient_of_a_balanced_pair_does_not_inflate_it():
    terms = smurf_terms(["a", "b"], 1)
    signal = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros_like(signal)
    for balance, sign in ((True, 0), (False, -1)):
        values = torch.stack([zero, scale * signal, zero, scale * signal])[None, :, :, None]
        output = FusionOutput(terms, values, torch.zeros(1, 1).double(), values)
        loss = SMURFPenalty(terms, reg_lambda=1.0, balance=balance)(
            output, torch.ones(100).double()
        )
        (gradient,) = torch.autograd.grad(loss.sum(), scale)
        if sign:
            assert gradient < -0.1  # the paper's L_cor rewards larger parts
        else:
            assert abs(gradient) < 0.1


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_soft_hgr_is_its_equation(n_modalities):
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(2, n_modalities, B, 5, generator=generator, dtype=torch.float64)
    output = FusionOutput((), f, f[0], f, {"embeddings": f})
    found = SoftHGRPenalty(reg_lambda=0.7)(output, torch.ones(B, dtype=torch.float64))
    for e in range(2):
        pairs = []
        for i in range(n_modalities):
            for j in range(i + 1, n_modalities):
                one, other = (f[e, k] - f[e, k].mean(0) for k in (i, j))
                cross = (one * other).sum() / (B - 1)
                trace = torch.trace((one.T @ one / (B - 1)) @ (other.T @ other / (B - 1)))
                pairs.append(cross - trace / 2)
        expected = -0.7 * torch.stack(pairs).mean() / 5
        torch.testing.assert_close(found[e], expected)


def test_members_are_penalized_one_by_one():
    terms = smurf_terms(["a", "b"], 1)
    both = output_of(terms, 3, members=2)
    weight = torch.rand(B, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    penalty = SMURFPenalty(terms, reg_lambda=1.0, balance=True)
    for e in range(2):
        one = FusionOutput(terms, both.values[[e]], both.bias[[e]], both.stages)
        torch.testing.assert_close(penalty(both, weight)[[e]], penalty(one, weight))
