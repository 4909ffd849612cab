"""Products of low rank: their gradients, what they are drawn from, and what they read."""

import pytest
import torch

from sklearn_mmfuse.nets._low_rank_products import LowRankProducts

WIDTHS = {"a": 3, "t": 2, "v": 4}
PAIRS = [("a", "t"), ("a", "v"), ("t", "v")]


def make(groups, n_members=2, **options):
    products = LowRankProducts(
        in_features=WIDTHS, groups=groups, rank=2, n_outputs=3, n_members=n_members, **options
    ).double()
    products.reset_parameters([torch.Generator().manual_seed(e) for e in range(n_members)])
    drawn = torch.Generator().manual_seed(9)
    for own in (products.bias, products.readout):
        own.data.copy_(torch.randn(own.shape, generator=drawn, dtype=torch.float64))
    return products


def rows(*lead):
    drawn = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(*lead, width, generator=drawn, dtype=torch.float64)
        for name, width in WIDTHS.items()
    }


@pytest.mark.parametrize("lead", [(5,), (2, 5)], ids=["shared rows", "own rows"])
@pytest.mark.parametrize("groups", [PAIRS, [*PAIRS, ("a", "t", "v")], [("a", "t", "v")]], ids=len)
def test_gradients_of_inputs_and_parameters(groups, lead):
    products, X = make(groups), rows(*lead)
    names = [name for name, _ in products.named_parameters()]

    def run(*tensors):
        own = dict(zip(names, tensors[len(WIDTHS) :], strict=True))
        given = dict(zip(WIDTHS, tensors[: len(WIDTHS)], strict=True))
        return torch.func.functional_call(products, own, (given,))

    tensors = [*X.values(), *(p.detach() for p in products.parameters())]
    assert torch.autograd.gradcheck(run, [t.clone().requires_grad_() for t in tensors])


def test_products_start_at_zero_and_more_of_them_leave_the_first_as_they_are():
    few, many = make(PAIRS[:1]), make([*PAIRS, ("a", "t", "v")])
    for own, other in zip(few._blocks(), (many._blocks()[i] for i in (0, 3)), strict=True):
        assert torch.equal(own, other)
    generators = [torch.Generator().manual_seed(e) for e in range(2)]
    few.reset_parameters(generators)
    assert not few(rows(5)).any()


def test_columns_behind_the_features_are_not_read():
    products, X = make(PAIRS), rows(5)
    wider = {name: torch.cat([x, x.exp()], dim=1) for name, x in X.items()}
    assert torch.equal(products(wider), products(X))
