"""The SMURF net: which output is which term, and what supervises what."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse._effects import Pool, exact_effects, pure_effects, subsets
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets import SMURFNet, smurf_terms

WIDTHS = {"a": 3, "t": 2, "v": 4}


def make_net(max_order=1, hidden=(5,), n_outputs=2, members=1, widths=WIDTHS):
    net = SMURFNet(
        in_features=widths,
        modalities=list(widths),
        max_order=max_order,
        n_outputs=n_outputs,
        n_members=members,
        input_scaling="standard",
        hidden=hidden,
        activation="relu",
    )
    net.reset_parameters([torch.Generator().manual_seed(e) for e in range(members)])
    return net.double()


def shake(net):
    """Outputs start at zero, which would hide mistakes."""
    for seed, parameter in enumerate(net.parameters()):
        generator = torch.Generator().manual_seed(seed)
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def make_rows(n=7, widths=WIDTHS):
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(n, width, dtype=torch.float64, generator=generator)
        for name, width in widths.items()
    }


def test_terms_count_as_the_paper_counts_them():
    names = [str(term) for term in smurf_terms(["A", "B", "C"], 3)]
    assert len(names) == 9 + 9 + 1  # equations 20 to 26
    assert names[:3] == ["A (unique)", "A (redundant with B)", "A (redundant with C)"]
    assert names[9:12] == [
        "A × B (unique)",
        "A × B (redundant with A × C)",
        "A × B (redundant with B × C)",
    ]
    assert names[-1] == "A × B × C (unique)"


@torch.no_grad()
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
@pytest.mark.parametrize("max_order", [1, 2, 3])
def test_a_term_reads_its_own_modalities_and_no_other(max_order, hidden):
    net, X = shake(make_net(max_order, hidden, members=2)), make_rows()
    before = net(X).terms
    assert {value.shape for value in before.values()} == {(2, 7, 2)}
    for name in WIDTHS:
        after = net(X | {name: X[name] + 1}).terms
        for term, value in after.items():
            changed = not torch.allclose(value, before[term])
            assert changed == (name in term.modalities), term


@torch.no_grad()
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_separated_terms_are_the_terms_and_their_closed_forms_exact(hidden):
    net, X = shake(make_net(2, hidden)), make_rows()
    values, rows, pool = net(X).terms, np.arange(7), Pool(7)
    for term in net.separate(X):
        found = term.evaluate(dict.fromkeys(term.names, rows))
        np.testing.assert_allclose(found, values[term.terms[0]][0], atol=1e-10)
        if term.closed_cost(pool) is None:
            continue
        names = term.names
        exact = exact_effects(term.evaluate, names, pool, len(names))
        means, wanted = term.closed_means(pool), subsets(names, len(names))
        for subset, effect in zip(wanted, pure_effects(means, wanted), strict=True):
            np.testing.assert_allclose(effect, exact.values[subset], atol=1e-10)


def test_every_part_starts_at_zero_and_the_loss_moves_it():
    net, X = make_net(2), make_rows()
    output = net(X)
    assert not output.values.any()
    (output.raw - 1).square().sum().backward()
    last = [mlps.later[-1].weight.grad for mlps in net.blocks]
    assert all(gradient.abs().min() > 0 for gradient in last)


def test_an_order_does_not_move_the_one_below_it():
    net, X = shake(make_net(2)), make_rows()
    output = net(X)
    assert len(output.stages) == 2
    output.stages[1].sum().backward()
    first, second = net.blocks
    assert all(p.grad is None or not p.grad.any() for p in first.parameters())
    assert any(p.grad.any() for p in second.parameters())
    torch.testing.assert_close(output.stages[-1], output.raw)


def test_embeddings_are_what_the_last_layer_reads():
    net, X = shake(make_net(1, (5, 4))), make_rows()
    output = net(X)
    embeddings = output.aux["embeddings"]
    assert embeddings.shape == (1, 3, 7, 4)
    mlps = net.blocks[0]
    out = mlps.read(embeddings)
    own = out[0, 1].unflatten(1, (3, 2))  # t: unique, with a, with v
    terms = output.terms
    torch.testing.assert_close(own[:, 0], terms[Term(["t"], "unique")][0])
    torch.testing.assert_close(own[:, 2], terms[Term(["t"], "redundant", ["v"])][0])
