"""The MRO nets against equation 9 written out literally."""

from itertools import combinations

import pytest
import torch
from torch.nn import functional as F

from sklearn_mmfuse._terms import Term, interaction_terms
from sklearn_mmfuse.losses import Objective, SquaredError
from sklearn_mmfuse.nets import EncoderSpec, make_mro_net

WIDTHS = {"a": 3, "t": 4, "v": 2, "e": 5, "p": 1}


def make_net(n_modalities=3, *, optimization="mro", n_members=1, seed=0, max_order=None, **options):
    names = list(WIDTHS)[:n_modalities]
    config = {
        "fusion": "concat",
        "share_encoders": False,
        "hidden": (6, 5),
        "activation": "tanh",
        "tensor_dim": 3,
        "stop_gradient": True,
        "input_scaling": "standard",
        "n_outputs": 2,
        "terms": interaction_terms(names, max_order or n_modalities),
        "in_features": {name: WIDTHS[name] for name in names},
        **options,
    }
    net = make_mro_net(optimization=optimization, n_members=n_members, **config).double()
    net.reset_parameters([torch.Generator().manual_seed(seed + e) for e in range(n_members)])
    return net


def make_batch(n_modalities=3, n_rows=11, seed=1):
    generator = torch.Generator().manual_seed(seed)
    X = {
        name: torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
        for name, width in list(WIDTHS.items())[:n_modalities]
    }
    return X, torch.randn(n_rows, generator=generator, dtype=torch.float64)


def literal_term(net, term, X):
    """One perceptron on concatenated inputs, with the weights the wide layers hold for it."""
    mlps = net.block.mlps
    position = net.terms.index(term)
    pieces = []
    for name in term.modalities:
        readers = [t for t in net.terms if name in t.modalities]
        block = mlps.first[mlps._names.index(name)][0].unflatten(1, (len(readers), -1))
        pieces.append(block[:, readers.index(term)])
    x = torch.cat([X[name] for name in term.modalities], dim=1)
    hidden = x @ torch.cat(pieces) + mlps.first_bias[0, 0, position]
    for layer in mlps.later:
        hidden = torch.tanh(hidden) @ layer.weight[0, position] + layer.bias[0, position]
    return hidden + literal_product(net.block.products, term, X)


def literal_product(products, term, X):
    """sum_r w_r prod_m (x_m W_m + b_m)_r, which an interaction has beside its perceptron."""
    if products is None or term.modalities not in products.groups:
        return 0.0
    g, rank = products.groups.index(term.modalities), products.readout.shape[3]
    product = 1.0
    for name in term.modalities:
        slot = products._slots.index((name, g))
        weight = products._blocks()[slot][0]
        bias = products.bias[0, slot * rank : (slot + 1) * rank, 0]
        product = product * (X[name] @ weight.mT + bias)
    return product @ products.readout[0, g].mT


def literal_equation_9(net, X, y):
    """L = sum_i L(y, sg(sum_{j<i} y_j) + y_i), term by term."""
    orders = []
    for order in range(1, len(X) + 1):
        terms = [Term(subset) for subset in combinations(X, order)]
        orders.append(sum(literal_term(net, term, X) for term in terms))
    loss = 0.0
    for i, prediction in enumerate(orders):
        lower = sum(orders[:i], start=net.bias[0])
        loss = loss + (lower.detach() + prediction)[:, 0].sub(y).square().mean()
    return loss


def wake_products(net):
    """Read-outs of products start at zero, where nothing reaches the factors."""
    if net.block.products is not None:
        weight = net.block.products.readout.data
        weight.copy_(torch.linspace(-1.0, 1.0, weight.numel()).view(weight.shape))


def first_output_loss(net, X, y):
    objective = Objective(SquaredError())
    out = net(X)
    weight = torch.ones_like(y)
    return objective.data_loss(out.stages[..., :1], y, weight).sum()


def gradients(net, loss):
    net.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in net.named_parameters()
    }


@pytest.mark.parametrize("product_rank", [0, 2])
@pytest.mark.parametrize("n_modalities", [2, 3, 4])
def test_every_gradient_is_that_of_equation_9(n_modalities, product_rank):
    net, (X, y) = make_net(n_modalities, product_rank=product_rank), make_batch(n_modalities)
    wake_products(net)
    fast = gradients(net, first_output_loss(net, X, y))
    literal = gradients(net, literal_equation_9(net, X, y))
    for name in fast:
        torch.testing.assert_close(fast[name], literal[name], rtol=1e-10, atol=1e-12)


def gradient_reaches(net, stage, X):
    """The orders whose parameters the loss of a stage moves (concat, encoders of their own)."""
    grads = gradients(net, net(X).stages[stage].square().sum())
    per_term = grads["block.mlps.first_bias"][0, 0].abs().sum(dim=1)
    return {term.order for term, size in zip(net.terms, per_term, strict=True) if size > 0}


def test_each_stage_moves_its_own_order_alone():
    X, _ = make_batch()
    assert [gradient_reaches(make_net(), stage, X) for stage in range(3)] == [{1}, {2}, {3}]


def test_without_stop_gradient_each_stage_moves_all_orders_up_to_it():
    net, (X, _) = make_net(stop_gradient=False), make_batch()
    assert [gradient_reaches(net, stage, X) for stage in range(3)] == [{1}, {1, 2}, {1, 2, 3}]


def test_joint_moves_everything_at_once():
    net, (X, _) = make_net(optimization="joint"), make_batch()
    assert len(net(X).stages) == 1
    assert gradient_reaches(net, 0, X) == {1, 2, 3}


@pytest.mark.parametrize("fusion", ["concat", "tensor"])
def test_shared_encoders_are_moved_by_the_unimodal_stage_alone(fusion):
    # The authors' code fails this: there L_bi and L_tri change the encoders, and so y_uni.
    net, (X, _) = make_net(share_encoders=True, fusion=fusion), make_batch()
    for stage, moved in enumerate([True, False, False]):
        grads = gradients(net, net(X).stages[stage].square().sum())
        encoder = sum(g.abs().sum() for name, g in grads.items() if "block.encoders" in name)
        assert bool(encoder > 0) == moved


@pytest.mark.parametrize("n_modalities", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("optimization", ["mro", "smro", "joint", "single"])
@pytest.mark.parametrize("fusion", ["concat", "tensor"])
@pytest.mark.parametrize("share_encoders", [False, True])
def test_terms_and_bias_add_up_to_the_last_stage(
    n_modalities, optimization, fusion, share_encoders
):
    net = make_net(
        n_modalities,
        optimization=optimization,
        fusion=fusion,
        share_encoders=share_encoders,
        n_members=2,
        hidden=(4,),
    )
    X, _ = make_batch(n_modalities)
    out = net(X)
    total = sum(out.terms.values()) + out.bias.unsqueeze(1)
    torch.testing.assert_close(total, out.stages[-1])
    assert len(out.terms) == (1 if optimization == "single" else 2**n_modalities - 1)
    assert all(value.shape == (2, 11, 2) for value in out.terms.values())


def test_products_multiply_few_features_and_neither_waves_nor_sequences():
    """A wave is no feature; what an encoder reads has no copy for a product."""
    plr = EncoderSpec("mlp", (3,), 3 + 3 * 4, embedding=(4, 1.0), gain=0.5)
    wide = EncoderSpec("mlp", (65,), 65)
    specs = {
        "a": plr,
        "w": wide,
        "s": EncoderSpec("gru", (None, 2), 6),
        "v": EncoderSpec("mlp", (2,), 2),
    }
    net = make_net(
        terms=interaction_terms(sorted(specs), 3),
        in_features={name: spec.width for name, spec in specs.items()},
        encoders=specs,
        n_outputs=1,
        hidden=(5,),
        activation="relu",
        product_rank=2,
    )
    assert net.block.products.groups == (("a", "v"),)
    pair = Term(("a", "v"))
    drawn = torch.Generator().manual_seed(1)
    shapes = {"a": (6, 3), "v": (6, 2), "s": (6, 4, 2), "w": (6, 65)}
    X = {n: torch.randn(s, generator=drawn, dtype=torch.float64) for n, s in shapes.items()}
    asleep = net(X).terms
    wake_products(net)
    awake = net(X).terms
    # What is read is multiplied by the gain, and first weights divided.
    expected = literal_product(net.block.products, pair, {"a": X["a"] * 0.5, "v": X["v"]})
    for term, value in awake.items():
        added = expected if term == pair else torch.zeros(6, 1).double()
        torch.testing.assert_close((value - asleep[term])[0], added)


@pytest.mark.parametrize("fusion", ["concat", "tensor"])
@pytest.mark.parametrize("share_encoders", [False, True])
def test_members_are_the_single_nets_of_their_seeds(fusion, share_encoders):
    X, _ = make_batch()
    options = {"fusion": fusion, "share_encoders": share_encoders}
    together = make_net(n_members=3, seed=5, **options)(X).raw
    alone = [make_net(seed=5 + e, **options)(X).raw[0] for e in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fusion", ["concat", "tensor"])
def test_members_may_read_rows_of_their_own(fusion):
    net = make_net(n_members=2, fusion=fusion)
    batches = [make_batch(seed=seed)[0] for seed in (1, 2)]
    stacked = {name: torch.stack([X[name] for X in batches]) for name in batches[0]}
    expected = torch.stack([net(X).raw[e] for e, X in enumerate(batches)])
    torch.testing.assert_close(net(stacked).raw, expected)


def test_a_tensor_term_is_multilinear_in_its_embeddings():
    net = make_net(2, fusion="tensor", hidden=(), input_scaling=None)
    X, _ = make_batch(2)
    pair = Term(["a", "t"])
    base = net(X).terms[pair] - net({"a": 0 * X["a"], "t": X["t"]}).terms[pair]
    double = (
        net({"a": 2 * X["a"], "t": X["t"]}).terms[pair]
        - net({"a": 0 * X["a"], "t": X["t"]}).terms[pair]
    )
    torch.testing.assert_close(double, 2 * base)


def test_a_mask_of_ones_changes_nothing_and_zeros_leave_the_biases():
    net, (X, _) = make_net(), make_batch()
    n_units = net.n_mask_units * 11
    assert n_units == 7 * (6 + 5) * 11
    torch.testing.assert_close(net(X, torch.ones(1, n_units).double()).raw, net(X).raw)
    dead = net(X, torch.zeros(1, n_units).double()).terms[Term(["a"])]
    torch.testing.assert_close(dead, net.block.mlps.later[-1].bias[:, 0].expand_as(dead))


def test_sequential_parts_are_nested_predictions():
    net, (X, _) = make_net(optimization="smro"), make_batch()
    stages = net(X).stages
    lower = F.pad(net.bias.new_zeros(1, 11, 1), (0, 1))
    for part, stage in zip(net.training_parts(), stages, strict=True):
        lower = lower + part(X).raw
        torch.testing.assert_close(stage, lower)


def test_sequential_parts_share_frozen_encoders():
    net = make_net(optimization="smro", share_encoders=True)
    net.begin_part(1)
    first, second = (part.block.encoders for part in net.training_parts()[:2])
    for own, taken in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(own, taken)
        assert not taken.requires_grad
        assert own.requires_grad


def test_input_statistics_standardize_and_clip():
    net, (X, _) = make_net(2, input_scaling="clip"), make_batch(2, n_rows=500)
    X["a"][0, 0], X["a"][:, 1] = 1e6, 7.0
    statistics = {name: (x.mean(0), x.std(0, correction=0)) for name, x in X.items()}
    net.set_input_statistics(statistics)
    scaled = net.scale_inputs(X)
    assert scaled["a"].abs().max() <= 3
    assert torch.all(scaled["a"][..., 1] == 0)  # a constant column carries nothing
    torch.testing.assert_close(scaled["t"][0].mean(0), torch.zeros(4).double(), atol=0.1, rtol=0)
