"""Critics: what bounds T, and what is drawn from the product of the marginals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_mmfuse.nets import (
    Critic,
    ModalityCritic,
    complete_rows,
    draw_orders,
    row_shares,
    shuffle_modalities,
)
from sklearn_mmfuse.nets._critic import bounded, max_min, spectral_bound


@pytest.mark.parametrize("shape", [(5, 5), (64, 64), (200, 64), (3, 40), (7, 1)])
def test_the_spectral_bound_is_one_and_close(shape):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    exact = torch.linalg.matrix_norm(weight, ord=2)
    bound = spectral_bound(weight)[:, 0, 0]
    assert (bound >= exact * (1 - 1e-12)).all()
    assert (bound <= exact * min(shape) ** (1 / 64) * (1 + 1e-12)).all()
    torch.testing.assert_close(spectral_bound(1e-9 * weight), 1e-9 * spectral_bound(weight))
    for size in (1e-15, 1e15):
        scaled = (size * weight).float()
        assert (spectral_bound(scaled)[:, 0, 0] >= exact.float() * size * (1 - 1e-5)).all()
    zero = torch.zeros(2, 3, 3, requires_grad=True)
    (zero / spectral_bound(zero)).sum().backward()
    assert zero.grad.isfinite().all()


@torch.no_grad()
def test_a_lipschitz_critic_is():
    critic = Critic(in_features=6, hidden=[16, 15], n_members=1, lipschitz=True).double()
    generator = torch.Generator().manual_seed(0)
    critic.reset_parameters([generator])
    for layer in critic.layers:
        layer.weight.data.mul_(100.0)
    a, b = (torch.randn(1, 500, 6, generator=generator).double() for _ in range(2))
    moved = (critic(a) - critic(b)).abs() / (a - b).norm(dim=-1)
    assert float(moved.max()) <= 1.0


def test_max_min_keeps_distances():
    x = torch.arange(7.0).flip(0)
    assert max_min(x).sort().values.tolist() == x.sort().values.tolist()
    torch.testing.assert_close(max_min(max_min(x)), max_min(x))


@torch.no_grad()
def test_t_is_bounded_and_rising():
    t = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    y = bounded(t)
    assert (y.diff() >= 0).all()
    assert -6 - 1e-5 <= float(y.min()) < float(y.max()) <= 8
    assert abs(float(bounded(torch.zeros(1)))) < 0.01
    critic = Critic(in_features=2, hidden=[], n_members=1, lipschitz=False)
    critic.layers[0].weight.data.fill_(1e6)
    assert float(critic(torch.ones(1, 1, 2))) == 8.0
    sigmoid = Critic(in_features=2, hidden=[], n_members=1, lipschitz=False, output="sigmoid")
    assert float(sigmoid(torch.ones(1, 1, 2))) == 0.5


def test_members_of_a_critic_are_nets_of_their_own():
    def make(seeds):
        critic = Critic(in_features=3, hidden=[4], n_members=len(seeds), lipschitz=True)
        critic.reset_parameters([torch.Generator().manual_seed(seed) for seed in seeds])
        return critic

    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(make([1, 2])(x)[1], make([2])(x[1:])[0])


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 1000))
def test_orders_are_permutations_without_a_row_in_two_modalities(n_rows, n_modalities, seed):
    orders = draw_orders(n_rows, n_modalities, torch.Generator().manual_seed(seed))
    assert orders.shape == (n_modalities, n_rows)
    for order in orders:
        assert sorted(order.tolist()) == list(range(n_rows))
    if n_rows >= n_modalities:
        assert all(len(set(column)) == n_modalities for column in orders.T.tolist())


def test_every_pair_of_rows_is_drawn_as_often():
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(5, 5)
    for _ in range(4000):
        first, second = draw_orders(5, 2, generator)
        counts.index_put_((first, second), torch.ones(5), accumulate=True)
    assert (counts.diagonal() == 0).all()
    others = counts[~torch.eye(5, dtype=torch.bool)] / 1000
    torch.testing.assert_close(others, torch.ones(20), atol=0.1, rtol=0)


def test_shuffled_modalities_and_what_they_count():
    X = {"a": torch.arange(3.0).unsqueeze(1), "b": 10 + torch.arange(3.0).unsqueeze(1)}
    orders = torch.tensor([[0, 1, 2], [1, 2, 0]])
    shuffled = shuffle_modalities(X, orders)
    assert shuffled["b"].flatten().tolist() == [11.0, 12.0, 10.0]
    weight = torch.tensor([1.0, 2.0, 5.0])
    joint, product = row_shares(weight, orders)
    torch.testing.assert_close(joint, weight / 8)
    torch.testing.assert_close(product, torch.tensor([2.0, 10.0, 5.0]) / 17)
    present = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    few, left = complete_rows(X, weight, present)
    assert few["b"].flatten().tolist() == [10.0, 11.0]
    assert left.tolist() == [1.0, 2.0]
    assert complete_rows(X, weight, None) == (X, weight)


def test_the_critic_of_modalities_is_its_formula():
    critic = ModalityCritic({"a": 3, "b": 2, "c": 4}, hidden=[8]).double()
    generator = torch.Generator().manual_seed(0)
    critic.reset_parameters(generator)
    x = {
        name: torch.randn(5, d, generator=generator, dtype=torch.float64)
        for name, d in {"a": 3, "b": 2, "c": 4}.items()
    }
    torch.testing.assert_close(critic(x), bounded(torch.zeros(5)).double(), atol=1e-6, rtol=0)
    critic.pairs.data.normal_(generator=generator)
    for embedding in critic.embeddings:
        embedding.square.data.normal_(generator=generator)
    vectors, alone = critic.embed(x)
    pairs = (
        torch.einsum("bi,ij,bj->b", vectors[0], critic.pairs[0], vectors[1])
        + torch.einsum("bi,ij,bj->b", vectors[0], critic.pairs[1], vectors[2])
        + torch.einsum("bi,ij,bj->b", vectors[1], critic.pairs[2], vectors[2])
    )
    torch.testing.assert_close(critic(x), bounded(pairs + sum(alone)))
    orders = draw_orders(5, 3, generator)
    moved = {name: block[order] for (name, block), order in zip(x.items(), orders, strict=True)}
    torch.testing.assert_close(critic(x, orders), critic(moved))
