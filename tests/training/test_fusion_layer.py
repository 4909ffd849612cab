"""The last layer, fitted to the end: against scikit-learn, and its conditions of optimality."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_mmfuse._training import (
    BlockFeatures,
    FusionLayer,
    _fusion_layer,
    fit_fusion_layer,
)
from sklearn_mmfuse.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    SquaredError,
)

SIZES = (3, 4, 2)
N = 200


def make_problem(n_classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, sum(SIZES), dtype=torch.float64, generator=generator)
    x = x - x.mean(dim=0)
    signal = x[:, 0] - 2 * x[:, 3] * (1 + 0.1 * x[:, 4])
    noise = torch.randn(N, dtype=torch.float64, generator=generator)
    if n_classes == 0:
        return x, signal + 0.3 * noise
    cuts = torch.quantile(signal, torch.linspace(0, 1, n_classes + 1)[1:-1].double())
    return x, torch.bucketize(signal + noise, cuts).double()


def fit(x, y, loss, n_outputs=1, weight=None, sizes=SIZES, **problem):
    weight = torch.ones(1, len(y), dtype=torch.float64) if weight is None else weight
    features = BlockFeatures.rotate(x, sizes, torch.ones(len(y)).double())
    zeros = torch.zeros(len(weight), features.values.shape[1], n_outputs, dtype=torch.float64)
    start = FusionLayer(zeros, torch.zeros(len(weight), n_outputs, dtype=torch.float64))
    problem = {"reg_lambda": 0.05, "q": 1.0, "max_iter": 5000, "tol": 1e-10} | problem
    layer = fit_fusion_layer(features, y, weight, loss, start, **problem)
    layer = features.leave(layer)
    return layer.weights, layer.bias, features


def test_one_block_is_ridge_regression():
    x, y = make_problem(0)
    weights, bias, _ = fit(x, y, SquaredError(), sizes=(9,), reg_lambda=0.1)
    ridge = Ridge(alpha=0.1 * N).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(weights[0, :, 0], ridge.coef_, atol=1e-7)
    assert float(bias) == pytest.approx(ridge.intercept_, abs=1e-7)


@pytest.mark.parametrize(("n_classes", "loss"), [(2, BinaryCrossEntropy()), (3, CrossEntropy())])
def test_one_block_is_logistic_regression(n_classes, loss):
    x, y = make_problem(n_classes)
    n_outputs = 1 if n_classes == 2 else 3
    weights, bias, _ = fit(x, y, loss, n_outputs, sizes=(9,), reg_lambda=0.02)
    theirs = LogisticRegression(C=1 / (2 * 0.02 * N), tol=1e-12, max_iter=10_000)
    theirs.fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(weights[0].T, theirs.coef_, atol=1e-5)
    found = bias[0] - bias[0].mean() if n_classes > 2 else bias[0]
    np.testing.assert_allclose(found, theirs.intercept_, atol=1e-5)


def test_uneven_weights_are_repeated_rows():
    x, y = make_problem(2)
    counts = torch.randint(0, 3, (N,), generator=torch.Generator().manual_seed(1))
    rows = torch.repeat_interleave(torch.arange(N), counts)
    weighted = fit(x, y, BinaryCrossEntropy(), weight=counts.double()[None])
    repeated = fit(x[rows], y[rows], BinaryCrossEntropy())
    for one, other in zip(weighted[:2], repeated[:2], strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=0)


def objective(w, b, x, y, q, reg_lambda):
    norms = torch.stack([block.norm() for block in w.split(list(SIZES))])
    loss = BinaryCrossEntropy().per_sample(x @ w + b, y).mean()
    return float(loss + reg_lambda * norms.pow(q).sum().pow(2 / q))


@pytest.mark.parametrize("p", [1.0, 1.5, 3.0])
def test_no_small_step_improves_the_fit(p):
    x, y = make_problem(2)
    q = 2 * p / (p + 1)
    weights, bias, features = fit(x, y, BinaryCrossEntropy(), q=q)
    best = objective(weights[0], bias[0], x, y, q, 0.05)
    generator = torch.Generator().manual_seed(3)
    for scale in (1e-1, 1e-2, 1e-3):
        for _ in range(50):
            step = torch.randn(9, 1, dtype=torch.float64, generator=generator) * scale
            assert objective(weights[0] + step, bias[0], x, y, q, 0.05) >= best - 1e-10
    norms = features.norms(features.enter(FusionLayer(weights, bias)).weights)[0]
    assert (norms == 0).any() == (p == 1.0)  # the third block is noise


def test_sets_of_weights_are_fitted_each_for_itself():
    x, y = make_problem(3)
    weight = torch.rand(4, N, generator=torch.Generator().manual_seed(2)).double()
    together = fit(x, y, CrossEntropy(), 3, weight=weight, tol=1e-12)
    for i in range(4):
        alone = fit(x, y, CrossEntropy(), 3, weight=weight[i : i + 1], tol=1e-12)
        torch.testing.assert_close(together[0][i], alone[0][0], atol=1e-6, rtol=0)


def test_the_absolute_error_is_fitted_nearly():
    x, y = make_problem(0)
    y[:10] += 50  # which a squared error would follow
    weights, bias, _ = fit(x, y, AbsoluteError(), reg_lambda=1e-4)
    assert (x @ weights[0] + bias - y.unsqueeze(1)).abs().median() < 0.35


def test_a_wide_block_is_fitted_as_it_is(monkeypatch):
    x, y = make_problem(2)
    rotated = fit(x, y, BinaryCrossEntropy())
    monkeypatch.setattr(_fusion_layer, "MAX_ROTATED", 3)  # the block of four is wider
    plain = fit(x, y, BinaryCrossEntropy())
    torch.testing.assert_close(plain[0], rotated[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(plain[1], rotated[1], rtol=0, atol=1e-5)


def test_rotation_drops_what_never_varies_and_keeps_norms():
    x, _ = make_problem(0)
    x[:, 1] = 2 * x[:, 0]
    x = x + 3
    features = BlockFeatures.rotate(x, SIZES, torch.ones(N).double())
    assert features.sizes == (2, 4, 2)
    generator = torch.Generator().manual_seed(0)
    inner = FusionLayer(
        torch.randn(1, 8, 2, generator=generator).double(), torch.ones(1, 2).double()
    )
    outer = features.leave(inner)
    back = features.enter(outer)
    torch.testing.assert_close(back.weights, inner.weights)
    torch.testing.assert_close(back.bias, inner.bias)
    torch.testing.assert_close(
        features.values @ inner.weights[0] + inner.bias, x @ outer.weights[0] + outer.bias
    )
    expected = torch.stack([block.norm() for block in outer.weights[0].split(list(SIZES))])
    torch.testing.assert_close(features.norms(inner.weights)[0], expected)


def test_features_far_from_zero_are_fitted_as_well():
    x, y = make_problem(2)
    near = fit(x, y, BinaryCrossEntropy())
    far = fit(x + 1000.0, y, BinaryCrossEntropy())
    torch.testing.assert_close(far[0], near[0], atol=1e-6, rtol=0)
