"""Routing: Procedure 1 by hand and in numpy, its invariances and its limits."""

import math

import numpy as np
import pytest
import torch

from sklearn_mmfuse._terms import Term, interaction_terms
from sklearn_mmfuse.nets import RoutingNet
from sklearn_mmfuse.nets._routing import route

WIDTHS = {"a": 3, "t": 2, "v": 4}
IDENTITY = np.eye(3).tolist()


def make_net(members=1, widths=WIDTHS, outputs=IDENTITY, terms=None, seed=0, **params):
    settings = {"n_routing": 2, "temperature": 1.0, "feature_dim": 5, "concept_dim": 4}
    net = RoutingNet(
        in_features=widths,
        terms=terms or interaction_terms(sorted(widths), len(widths)),
        concept_outputs=outputs,
        n_members=members,
        input_scaling=None,
        hidden=(6,),
        activation="tanh",
        **settings | params,
    )
    net.reset_parameters([torch.Generator().manual_seed(seed + e) for e in range(members)])
    with torch.no_grad():
        net.vote_weights.mul_(
            5
        )  # as it starts, routing is close to uniform, and mistakes would not show
    return net.double()


def make_rows(n=7, widths=WIDTHS):
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(n, width, dtype=torch.float64, generator=generator)
        for name, width in widths.items()
    }


def test_two_terms_two_concepts_two_rounds_by_hand():
    # Votes: term 1 says 2 for concept 1 and 0 for concept 2; term 2 says 1 for both.
    votes = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64).view(2, 1, 2, 1)
    p = torch.tensor([[1.0], [0.5]], dtype=torch.float64)
    # First concepts, uniform: (2 + 1) / 2 = 1.5 and (0 + 1) / 2 = 0.5.
    # Similarities: term 1: 2 * 1.5 = 3 and 0; term 2: 1.5 and 0.5. Of two numbers, the softmax is
    # a logistic function of their difference.
    first = [1 / (1 + math.exp(-3.0)), 1 / (1 + math.exp(-1.0))]
    assert first == pytest.approx([0.952574, 0.731059], abs=1e-6)
    # Concepts: 1 * 0.952574 * 2 + 0.5 * 0.731059 * 1 and 0 + 0.5 * 0.268941 * 1.
    concepts = [2.270678, 0.134471]
    # Similarities: term 1: 4.541355 and 0; term 2: 2.270678 and 0.134471.
    second = [1 / (1 + math.exp(-2 * concepts[0])), 1 / (1 + math.exp(concepts[1] - concepts[0]))]
    for rounds, expected in ((1, first), (2, second)):
        r = route(votes, p, None, rounds).squeeze()
        np.testing.assert_allclose(r[:, 0], expected, atol=1e-6)
        np.testing.assert_allclose(r[:, 1], 1 - np.array(expected), atol=1e-6)
    np.testing.assert_allclose(second, [0.989453, 0.894373], atol=1e-6)


def literal_routing(features, p, weight, n_routing, n_concepts):
    """Procedure 1 for one row, in loops: features (T, d_f), p (T,), weight (T, d_f, J, d_c)."""
    n_terms, concept_dim = len(features), weight.shape[3]
    votes = [[features[i] @ weight[i, :, j] for j in range(n_concepts)] for i in range(n_terms)]
    concepts = [sum(votes[i][j] / n_concepts for i in range(n_terms)) for j in range(n_concepts)]
    for _ in range(n_routing):
        r = np.empty((n_terms, n_concepts))
        for i in range(n_terms):
            s = [votes[i][j] @ concepts[j] / math.sqrt(concept_dim) for j in range(n_concepts)]
            r[i] = np.exp(s) / np.exp(s).sum()
        concepts = [
            sum(p[i] * r[i, j] * votes[i][j] for i in range(n_terms)) for j in range(n_concepts)
        ]
    return r, concepts, votes


@torch.no_grad()
@pytest.mark.parametrize("n_routing", [1, 2, 5])
def test_the_net_is_procedure_1_and_equation_3(n_routing):
    net, X = make_net(members=2, n_routing=n_routing), make_rows()
    output = net(X)
    encoded = net.perceptrons(X).numpy()
    p = 1 / (1 + np.exp(-encoded[..., -1]))
    np.testing.assert_allclose(output.aux["activation"], p, atol=1e-12)
    for member in range(2):
        weight = net.vote_weights[member].numpy().reshape(7, 5, 3, 4)
        o = net.readout[member, 0, 0].numpy()
        for row in range(7):
            f = encoded[member, :, row, :-1]
            r, concepts, votes = literal_routing(f, p[member, :, row], weight, n_routing, 3)
            np.testing.assert_allclose(output.aux["coefficients"][member, :, row], r, atol=1e-12)
            logits = [o[j] @ concepts[j] for j in range(3)]
            np.testing.assert_allclose(output.raw[member, row], logits, atol=1e-12)
            for i in range(7):
                addend = [p[member, i, row] * r[i, j] * o[j] @ votes[i][j] for j in range(3)]
                np.testing.assert_allclose(output.values[member, i, row], addend, atol=1e-12)


@torch.no_grad()
def test_coefficients_of_a_term_add_up_to_one_over_concepts():
    r = make_net(members=2)(make_rows()).aux["coefficients"]
    assert r.shape == (2, 7, 7, 3)
    assert r.std() > 0.05
    np.testing.assert_allclose(r.sum(dim=-1), 1, atol=1e-12)


@torch.no_grad()
def test_with_one_concept_routing_is_the_additive_baseline():
    X = make_rows()
    routed = make_net(outputs=[[1.0]])(X)
    additive = make_net(outputs=[[1.0]], n_routing=0)(X)
    np.testing.assert_allclose(routed.values, additive.values, atol=1e-14)
    assert (routed.aux["coefficients"] == 1).all()


@torch.no_grad()
def test_without_routing_coefficients_are_uniform_and_terms_read_their_own_modalities():
    net, X = make_net(n_routing=0), make_rows()
    before = net(X)
    np.testing.assert_allclose(before.aux["coefficients"], 1 / 3, atol=1e-14)
    after = net(X | {"a": X["a"] + 1}).terms
    for term, value in before.terms.items():
        assert torch.allclose(value, after[term]) == ("a" not in term.modalities), term


@torch.no_grad()
def test_with_routing_every_term_depends_on_every_modality():
    net, X = make_net(), make_rows()
    before, after = net(X).terms, net(X | {"a": X["a"] + 1}).terms
    assert not any(torch.allclose(before[term], after[term]) for term in before)


@torch.no_grad()
def test_the_order_of_modalities_does_not_matter():
    net, X = make_net(), make_rows()
    order = [4, 0, 2, 1, 6, 3, 5]
    other = make_net(terms=[net.terms[i] for i in order])
    other.perceptrons.load_state_dict(
        {
            key: value
            if key == "first.0" or key.startswith("first.")
            else value[:, :, order]
            if key == "first_bias"
            else value[:, order]
            for key, value in net.perceptrons.state_dict().items()
        }
    )
    for position, name in enumerate(sorted(WIDTHS)):  # of the first layer, blocks of readers
        readers = [i for i, term in enumerate(net.terms) if name in term.modalities]
        blocks = net.perceptrons.first[position].unflatten(2, (-1, 6))
        moved = [readers.index(i) for i in order if i in readers]
        other.perceptrons.first[position].copy_(blocks[:, :, moved].flatten(2))
    other.vote_weights.copy_(net.vote_weights[:, order])
    other.readout.copy_(net.readout)
    one, two = net(X), other(X)
    for term, value in one.terms.items():
        np.testing.assert_allclose(value, two.terms[term], atol=1e-12)
    np.testing.assert_allclose(
        one.aux["coefficients"][:, order], two.aux["coefficients"], atol=1e-12
    )


@torch.no_grad()
def test_members_are_the_single_nets_of_their_seeds():
    X, several = make_rows(), make_net(members=3)
    for member in range(3):
        single = make_net(seed=member)(X)
        np.testing.assert_allclose(several(X).values[member], single.values[0], atol=1e-12)


@torch.no_grad()
def test_a_term_that_is_not_there_has_no_say():
    net, X = make_net(), make_rows()
    present = torch.ones(7, 3, dtype=torch.float64)
    present[2, 0] = present[4, 0] = 0  # rows 2 and 4 lack "a"
    output, other = net(X, present=present), net(X | {"a": X["a"] * 0 - 3}, present=present)
    lacks = [i for i, term in enumerate(net.terms) if "a" in term.modalities]
    for row in (2, 4):
        assert not output.values[0, lacks, row].any()
        np.testing.assert_allclose(output.values[0, :, row], other.values[0, :, row], atol=1e-14)
    # The others are routed as if there were no other terms.
    kept = [term for term in net.terms if "a" not in term.modalities]
    encoded = net.perceptrons(X)[:, [net.terms.index(term) for term in kept]]
    rest = make_net(widths={"t": 2, "v": 4}, terms=kept)
    rest.vote_weights.copy_(net.vote_weights[:, [net.terms.index(term) for term in kept]])
    rest.readout.copy_(net.readout)
    alone = rest._routed(encoded, None)
    for term in kept:
        np.testing.assert_allclose(
            output.terms[term][0, [2, 4]], alone.terms[term][0, [2, 4]], atol=1e-12
        )


@torch.no_grad()
def test_a_high_temperature_is_the_additive_baseline():
    X = make_rows()
    hot, additive = make_net(temperature=1e9)(X), make_net(n_routing=0)(X)
    np.testing.assert_allclose(hot.values, additive.values, atol=1e-7)
    raw = make_net(temperature=1 / math.sqrt(4))  # the paper's text has no division
    votes = torch.matmul(raw.perceptrons(X)[..., :-1], raw.vote_weights).unflatten(3, (3, 4))
    plain = (votes * votes.sum(dim=1, keepdim=True) / 3).sum(-1).softmax(-1)
    once = make_net(temperature=1 / math.sqrt(4), n_routing=1)(X).aux["coefficients"]
    np.testing.assert_allclose(once, plain, atol=1e-12)


def test_large_votes_stay_finite_and_everything_learns():
    net, X = make_net(), make_rows()
    output = net(X)
    output.raw.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in net.parameters())
    with torch.no_grad():
        net.vote_weights.mul_(1e6)
    for parameter in net.parameters():
        parameter.grad = None
    output = net(X)
    output.raw.sum().backward()
    assert output.values.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@torch.no_grad()
def test_terms_are_separated_together():
    net, X = make_net(), make_rows()
    (joint,) = net.separate(X)
    assert joint.terms == net.terms
    rows = np.array([0, 3, 3, 6])
    found = joint.evaluate(dict.fromkeys(WIDTHS, rows)).reshape(4, 7, 3)
    expected = net(X).values[0].transpose(0, 1)[rows]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    mixed = {"a": rows, "t": rows[::-1].copy(), "v": rows}
    combined = net({name: X[name][torch.from_numpy(mixed[name])] for name in WIDTHS})
    np.testing.assert_allclose(
        joint.evaluate(mixed).reshape(4, 7, 3), combined.values[0].transpose(0, 1), atol=1e-12
    )


def test_two_outputs_of_one_concept_each_or_their_difference():
    X = make_rows()
    with torch.no_grad():
        apart = make_net(outputs=[[1.0, 0.0], [0.0, 1.0]])(X).values
        difference = make_net(outputs=[[-1.0], [1.0]])(X).values
    np.testing.assert_allclose(apart[..., 1] - apart[..., 0], difference[..., 0], atol=1e-12)
    assert Term(["a"]) == make_net().terms[0]
