"""The InTense net: its forward pass written out, and its statistics."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse._effects import Pool, exact_effects
from sklearn_mmfuse._terms import Term, interaction_terms
from sklearn_mmfuse._training import Rows
from sklearn_mmfuse.nets import EncoderSpec, InTenseNet

WIDTHS = {"a": 3, "t": 2, "v": 4}


def make_net(
    max_order=3, hidden=(6,), n_outputs=2, members=1, normalization="iterbn", plain=(), **params
):
    net = InTenseNet(
        in_features=WIDTHS,
        encoders={
            name: EncoderSpec("identity" if name in plain else "mlp", (width,), width)
            for name, width in WIDTHS.items()
        },
        terms=params.pop("terms", interaction_terms(list(WIDTHS), max_order)),
        n_outputs=n_outputs,
        n_members=members,
        input_scaling=None,
        hidden=hidden,
        activation="tanh",
        tensor_dim=3,
        normalization=normalization,
        p=params.get("p", 1.0),
        reg_lambda=params.get("reg_lambda", 0.1),
        interaction_weight=params.get("interaction_weight", 1.0),
    )
    net.reset_parameters([torch.Generator().manual_seed(e) for e in range(members)])
    return net.double()


def make_rows(n=40, seed=5, *, present=None):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(n, 1, dtype=torch.float64, generator=generator)
    X = {
        name: torch.randn(n, width, dtype=torch.float64, generator=generator) + shared
        for name, width in WIDTHS.items()
    }
    weight = torch.rand(n, dtype=torch.float64, generator=generator) + 0.5
    return Rows(X, torch.zeros(n, dtype=torch.float64), weight, present=present)


def literal(net, X, weight):
    """Equations 5 to 7, 9 and 10 for one member, three modalities and orders up to 3."""
    share = (weight / weight.sum()).unsqueeze(1)

    def vbn(f):
        f = f - (share * f).sum(dim=0)
        return f / (share * f.square().sum(dim=1, keepdim=True)).sum().sqrt()

    represented = net.perceptrons(X)[0].tanh()
    f = [vbn(block) for block in represented]
    g = [vbn(block @ matrix) for block, matrix in zip(represented, net.projection[0], strict=True)]

    def mean(product):
        return (share.reshape(-1, *[1] * (product.dim() - 1)) * product).sum(dim=0)

    pairs = {}
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pairs[i, j] = torch.einsum("bi,bj->bij", g[i], g[j])
    triple = torch.einsum("bi,bj,bk->bijk", *g)
    triple = (
        triple
        - torch.einsum("ij,bk->bijk", mean(pairs[0, 1]), g[2])
        - torch.einsum("ik,bj->bijk", mean(pairs[0, 2]), g[1])
        - torch.einsum("jk,bi->bijk", mean(pairs[1, 2]), g[0])
        - mean(triple)
    )
    blocks = [*f, *(pair - mean(pair) for pair in pairs.values()), triple]
    blocks = [vbn(block.flatten(1)) for block in blocks]
    weights = [w for order in net.fusion for w in order[0]]
    return torch.stack([block @ w for block, w in zip(blocks, weights, strict=True)])


def test_the_forward_pass_is_the_papers_equations():
    net, rows = make_net().train(), make_rows()
    found = net(rows.X, None, None, rows.weight).values[0]
    torch.testing.assert_close(found, literal(net, rows.X, rows.weight))


def test_prediction_uses_the_training_rows_and_not_its_batch():
    net, rows = make_net(), make_rows()
    in_batch = net.train()(rows.X, None, None, rows.weight).values
    net.eval().set_population(rows)
    torch.testing.assert_close(net(rows.X).values, in_batch)
    pieces = [net({k: x[i : i + 1] for k, x in rows.X.items()}).values for i in range(40)]
    torch.testing.assert_close(torch.cat(pieces, dim=2), in_batch)


@torch.no_grad()
@pytest.mark.parametrize("normalization", ["iterbn", "vbn", None])
@pytest.mark.parametrize("members", [1, 3])
def test_features_times_weights_are_the_terms(members, normalization):
    net, rows = make_net(members=members, normalization=normalization).eval(), make_rows()
    net.set_population(rows)
    features, weights, start = net.fusion_features(rows), net.fusion_weights(), 0
    for position, size in enumerate(net.block_sizes):
        part = features[:, :, start : start + size] @ weights[:, start : start + size]
        torch.testing.assert_close(net(rows.X).values[:, position], part)
        start += size
    assert start == features.shape[2]


@torch.no_grad()
def test_theorem_2_on_the_training_rows_of_a_net():
    net, rows = make_net().eval(), make_rows()
    net.set_population(rows)
    normed = net._normalize(net._represent(rows.X, _no_mask()))
    a, t, v = normed.factor[0]
    constants = normed.known.constants[1]
    share = (rows.weight / rows.weight.sum()).unsqueeze(1)
    # Given the factor of one modality, the triple's coefficient is the product of the other two,
    # centered; given two, it is the third; given none, the whole.
    for axes, (one, other) in {(0, 1): (a, t), (0, 2): (a, v), (1, 2): (t, v)}.items():
        coefficient = torch.einsum("bi,bj->bij", one, other) + constants[axes][0]
        assert (share.unsqueeze(2) * coefficient).sum(0).abs().max() < 1e-13
    for block in (a, t, v):
        assert (share * block).sum(0).abs().max() < 1e-13
    features = net.fusion_features(rows)[0]
    assert (share * features).sum(0).abs().max() < 1e-13


def _no_mask():
    from sklearn_mmfuse.nets._layers import MaskReader

    return MaskReader(None)


@torch.no_grad()
@pytest.mark.parametrize("plain", [(), ("t",), ("a", "t", "v")])
def test_members_are_the_single_nets_of_their_seeds(plain):
    rows = make_rows()
    together = make_net(members=2, plain=plain).train()(rows.X, None, None, rows.weight)
    for seed in range(2):
        single = make_net(plain=plain)
        single.reset_parameters([torch.Generator().manual_seed(seed)])
        alone = single.train()(rows.X, None, None, rows.weight)
        torch.testing.assert_close(alone.values[0], together.values[seed])
        torch.testing.assert_close(
            single.regularizer()[0], make_net(members=2, plain=plain).regularizer()[seed]
        )


@torch.no_grad()
@pytest.mark.parametrize("p", [1.0, 1.5, 4.0])
def test_the_regularizer_is_equation_25(p):
    net = make_net(p=p, reg_lambda=0.3)
    q = 2 * p / (p + 1)
    norms = [float(block.norm()) for weight in net.fusion for block in weight[0]]
    expected = 0.3 * sum(norm**q for norm in norms) ** (2 / q)
    assert float(net.regularizer()) == pytest.approx(expected)
    assert make_net(reg_lambda=0.0).regularizer() is None
    weighted = make_net(p=p, reg_lambda=0.3, interaction_weight=5.0)
    counts = [1 if term.order == 1 else 5 for term in weighted.terms]
    plain = sum(norm**q for norm in norms) ** (1 / q)
    expected = (
        0.3 * plain * sum((c * n) ** q for c, n in zip(counts, norms, strict=True)) ** (1 / q)
    )
    assert float(weighted.regularizer()) == pytest.approx(expected)


@torch.no_grad()
def test_the_weight_of_interactions_rises_over_the_first_eighth_of_all_epochs():
    def penalty(weight, progress=None):
        net = make_net(reg_lambda=0.3, interaction_weight=weight)
        if progress is not None:
            net.begin_epoch(progress)
        return net.regularizer()

    torch.testing.assert_close(penalty(5.0, 0.0), penalty(1.0))
    torch.testing.assert_close(penalty(5.0, 0.0625), penalty(3.0))
    for later in (0.125, 0.5, None):
        torch.testing.assert_close(penalty(5.0, later), penalty(5.0, 1.0))


@torch.no_grad()
@pytest.mark.parametrize("plain", [(), ("t",)])
def test_all_blocks_start_with_the_same_norm(plain):
    net = make_net(plain=plain)
    norms = torch.stack([block.norm() for weight in net.fusion for block in weight[0]])
    torch.testing.assert_close(norms, torch.full_like(norms, 1 / 7))


@torch.no_grad()
@pytest.mark.parametrize("normalization", ["iterbn", "vbn", None])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_separated_terms_are_the_terms(hidden, normalization):
    net, rows = make_net(hidden=hidden, normalization=normalization).eval(), make_rows(12)
    net.set_population(make_rows(40, seed=6))
    every = np.arange(12)
    values = net(rows.X).values[0]
    for position, term in enumerate(net.separate(rows.X)):
        found = term.evaluate(dict.fromkeys(WIDTHS, every))
        np.testing.assert_allclose(found, values[position], atol=1e-12)
        pool = Pool(12, None)
        means = term.closed_means(pool)
        np.testing.assert_allclose(
            means[()],
            exact_effects(term.evaluate, term.names, pool, 1).constant,
            atol=1e-12,
        )


@torch.no_grad()
def test_rows_that_lack_a_modality_count_where_they_have_what_is_read():
    present = torch.ones(40, 3, dtype=torch.float64)
    present[:15, 0] = 0  # no a
    present[10:20, 2] = 0  # no v
    rows = make_rows(present=present)
    rows.X["a"][:15] = 1e6  # whatever stands there
    net = make_net().eval()
    net.set_population(rows)
    features = net.fusion_features(rows)[0].split(net.block_sizes, dim=1)
    for term, block in zip(net.terms, features, strict=True):
        there = torch.ones(40, dtype=torch.bool)
        for name in term.modalities:
            there &= present[:, list(WIDTHS).index(name)] == 1
        assert (block[~there] == 0).all()
        share = rows.weight[there] / rows.weight[there].sum()
        assert (share @ block[there]).abs().max() < 1e-12, term
        torch.testing.assert_close(
            share @ block[there].square().sum(1), torch.ones((), dtype=torch.float64)
        )


@torch.no_grad()
def test_chosen_interactions_and_large_populations(monkeypatch):
    terms = [Term(["a"]), Term(["t"]), Term(["v"]), Term(["a", "v"]), Term(["a", "t", "v"])]
    net, rows = make_net(terms=terms, members=2).eval(), make_rows()
    net.set_population(rows)
    expected = net(rows.X).values
    monkeypatch.setattr("sklearn_mmfuse.nets._intense.MAX_VALUES", 1)  # one product at a time
    monkeypatch.setattr("sklearn_mmfuse.nets._base.MAX_ROWS", 7)
    again = make_net(terms=terms, members=2).eval()
    again.set_population(rows)
    torch.testing.assert_close(again(rows.X).values, expected)


@torch.no_grad()
def test_a_set_fusion_is_what_is_predicted():
    net, rows = make_net(members=2).eval(), make_rows()
    net.set_population(rows)
    weights = torch.randn(
        net.fusion_weights().shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    bias = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    net.set_fusion(weights, bias)
    expected = net.fusion_features(rows) @ weights + bias.unsqueeze(1)
    torch.testing.assert_close(net(rows.X).raw, expected)
    net.set_fusion(torch.zeros_like(weights), bias)
    assert (net(rows.X).values == 0).all()
