"""Base losses against their definitions, and the objective as their weighted sum."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse._links import LINKS
from sklearn_mmfuse.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    MultilabelCrossEntropy,
    Objective,
    SquaredError,
)

RNG = np.random.default_rng(0)
CASES = [
    (SquaredError(), RNG.normal(size=(2, 9, 1)), RNG.normal(size=9)),
    (AbsoluteError(), RNG.normal(size=(2, 9, 1)), RNG.normal(size=9)),
    (BinaryCrossEntropy(), RNG.normal(size=(2, 9, 1)), np.arange(9) % 2),
    (CrossEntropy(), RNG.normal(size=(2, 9, 3)), np.arange(9) % 3),
]


def expected(loss, raw, target):
    if isinstance(loss, SquaredError):
        return (raw[..., 0] - target) ** 2
    if isinstance(loss, AbsoluteError):
        return np.abs(raw[..., 0] - target)
    rows = np.arange(len(target))
    probability = [LINKS[loss.link].inverse(member)[rows, target] for member in raw]
    return -np.log(probability)


@pytest.mark.parametrize(("loss", "raw", "target"), CASES)
def test_per_sample_loss_is_the_negative_log_likelihood_of_its_link(loss, raw, target):
    value = loss.per_sample(torch.tensor(raw), torch.tensor(target, dtype=torch.float64))
    np.testing.assert_allclose(value.numpy(), expected(loss, raw, target), rtol=1e-12)


@pytest.mark.parametrize(("loss", "raw", "target"), CASES)
@pytest.mark.parametrize("doubt", [0.3, torch.tensor([[0.1], [0.6]])], ids=["one", "each"])
def test_a_doubted_row_may_be_of_any_class(loss, raw, target, doubt):
    raw, target = torch.tensor(raw), torch.tensor(target, dtype=torch.float64)
    value = loss.doubted(raw, target, doubt)
    own = loss.per_sample(raw, target)
    if loss.link == "identity":
        assert torch.equal(value, own)
        return
    each = [loss.per_sample(raw, torch.full_like(target, k)) for k in range(max(2, raw.shape[2]))]
    torch.testing.assert_close(value, (1 - doubt) * own + doubt * sum(each) / len(each))


@pytest.mark.parametrize("doubt", [0.3, torch.tensor([[0.1], [0.6]])], ids=["one", "each"])
def test_a_doubted_label_may_be_anything(doubt):
    loss, raw = MultilabelCrossEntropy(), torch.tensor(RNG.normal(size=(2, 9, 3)))
    target = torch.tensor(RNG.integers(0, 2, size=(9, 3)), dtype=torch.float64)
    other = (loss.per_sample(raw, target) + loss.per_sample(raw, 1 - target)) / 2
    expected = (1 - doubt) * loss.per_sample(raw, target) + doubt * other
    torch.testing.assert_close(loss.doubted(raw, target, doubt), expected)


@pytest.mark.parametrize(("loss", "raw", "target"), CASES[2:])
def test_the_intercept_is_the_best_constant(loss, raw, target):
    weight = RNG.uniform(0.5, 2, size=len(target))
    n_outputs = raw.shape[-1]
    start = torch.tensor(loss.intercept(target, weight, n_outputs), requires_grad=True)
    constant = start.expand(1, len(target), n_outputs)
    value = loss.per_sample(constant, torch.tensor(target, dtype=torch.float64))
    (value * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(start.grad.numpy(), 0, atol=1e-10)


def test_a_class_without_weight_keeps_a_finite_intercept():
    intercept = CrossEntropy().intercept(np.array([0, 0, 1]), np.ones(3), 3)
    assert np.isfinite(intercept).all()
    assert intercept.argmin() == 2


def test_links_are_probabilities():
    raw = RNG.normal(size=(5, 3)) * 50
    for name, columns in (("logit", slice(0, 1)), ("softmax", slice(None))):
        probability = LINKS[name].inverse(raw[:, columns])
        np.testing.assert_allclose(probability.sum(axis=1), 1)
    np.testing.assert_array_equal(LINKS["identity"].inverse(raw), raw)


def test_objective_is_weighted_and_knows_offsets():
    objective = Objective(SquaredError())
    raw, target = torch.tensor(CASES[0][1]), torch.tensor(CASES[0][2])
    weight = torch.tensor(RNG.uniform(size=9))
    offset = torch.full((2, 9, 1), 0.5, dtype=torch.float64)
    value = objective.data_loss(raw, target, weight, offset)
    literal = (weight * (raw[..., 0] + 0.5 - target) ** 2).sum(dim=1) / 9
    torch.testing.assert_close(value, literal)


def test_penalties_are_added_per_member():
    class Output:
        stages = torch.zeros(1, 2, 3, 1)

    class Net:
        def regularizer(self):
            return torch.ones(2)

    penalty = Objective(SquaredError(), [lambda output, weight: torch.tensor([1.0, 2.0])])
    value = penalty(Output(), torch.ones(3), torch.ones(3), Net())
    assert value.tolist() == [1 + 1 + 1, 1 + 2 + 1]
