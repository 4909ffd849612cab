"""MulT: attention is that of torch; padding, unequal lengths, and copies that do not mix."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_mmfuse._effects import Pool, exact_effects
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets import EncoderSpec, MRONet
from sklearn_mmfuse.nets._encoders import MulTEncoder, _mult
from sklearn_mmfuse.nets._encoders._attention import AttentionLayers, sine_positions
from sklearn_mmfuse.nets._group_mlps import GroupMLPs

WIDTH = 8
FEATURES = {"a": 3, "t": 2, "v": 4}
STEPS = {"a": 9, "t": 5, "v": 12}
GROUPS = [("a",), ("t",), ("v",), ("a", "t"), ("a", "v"), ("t", "v"), ("a", "t", "v")]
SPECS = {
    name: EncoderSpec("mult", (None, width), WIDTH, (("n_heads", 2),))
    for name, width in FEATURES.items()
}


def members(count, seed=0):
    return [torch.Generator().manual_seed(seed + e) for e in range(count)]


def make_encoder(groups=GROUPS, n_members=1, specs=SPECS, seed=0):
    encoder = MulTEncoder(specs, groups=groups, n_members=n_members, activation="relu")
    generators = members(n_members, seed)
    for position, group in enumerate(groups):
        for name in group:
            encoder.reset_slot(position, name, generators)
    return encoder.double()


def make_rows(n=4, steps=STEPS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(1, n, steps[name], width, dtype=torch.float64, generator=generator)
        for name, width in FEATURES.items()
    }


def make_mlps(n_members=1, specs=SPECS, groups=GROUPS, vectors=()):
    mlps = GroupMLPs(
        in_features=dict.fromkeys(specs, WIDTH) | dict.fromkeys(vectors, 2),
        encoders=specs,
        groups=groups,
        hidden=[6],
        n_outputs=2,
        n_members=n_members,
        activation="tanh",
    )
    mlps.reset_parameters(members(n_members))
    return mlps.double()


@torch.no_grad()
@pytest.mark.draws_globally
def test_self_attention_is_torchs():
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(
            WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        ),
        2,
        norm=nn.LayerNorm(WIDTH),
        enable_nested_tensor=False,
    ).double()
    ours = AttentionLayers(
        n_members=1, n_copies=1, width=WIDTH, n_layers=2, n_heads=2, activation="relu"
    ).double()
    ours.reset_copy(0, members(1))
    for number, layer in enumerate(theirs.layers):
        attention = layer.self_attn
        attention.in_proj_weight.copy_(
            torch.cat([ours.weights[f"query_{number}"], ours.weights[f"key_value_{number}"]], 3)[
                0, 0
            ].T
        )
        attention.in_proj_bias.normal_()
        ours.biases[f"query_{number}"][0, 0, 0] = attention.in_proj_bias[:WIDTH]
        ours.biases[f"key_value_{number}"][0, 0, 0] = attention.in_proj_bias[WIDTH:]
        for key, linear in (
            ("mixed", attention.out_proj),
            ("wide", layer.linear1),
            ("narrow", layer.linear2),
        ):
            linear.weight.copy_(ours.weights[f"{key}_{number}"][0, 0].T)
            ours.biases[f"{key}_{number}"][0, 0, 0] = linear.bias
    x = make_rows()["a"] @ torch.ones(3, WIDTH, dtype=torch.float64)
    x = x + sine_positions(9, x)
    valid = torch.arange(9) < torch.tensor([9, 4, 1, 7])[:, None]
    expected = theirs(x[0], src_key_padding_mask=~valid)
    found = ours(x, attended=valid.unsqueeze(0))[0]
    np.testing.assert_allclose(found[valid], expected[valid], atol=1e-10)


@torch.no_grad()
@pytest.mark.draws_globally
def test_cross_attention_is_torchs():
    ours = AttentionLayers(
        n_members=1, n_copies=1, width=WIDTH, n_layers=1, n_heads=2, activation="relu"
    ).double()
    ours.reset_copy(0, members(1))
    attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True).double()
    attention.in_proj_weight.copy_(
        torch.cat([ours.weights["query_0"], ours.weights["key_value_0"]], dim=3)[0, 0].T
    )
    attention.in_proj_bias.zero_()
    attention.out_proj.weight.copy_(ours.weights["mixed_0"][0, 0].T)
    attention.out_proj.bias.zero_()
    target, source = (
        torch.randn(1, 4, n, WIDTH, dtype=torch.float64, generator=members(1)[0]) for n in (5, 9)
    )
    valid = torch.arange(9) < torch.tensor([9, 4, 1, 7])[:, None]
    norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
    told = norm(source[0])
    hidden = target[0] + attention(norm(target[0]), told, told, key_padding_mask=~valid)[0]
    wide, narrow = (ours.weights[key][0, 0] for key in ("wide_0", "narrow_0"))
    expected = norm(hidden + (norm(hidden) @ wide).relu() @ narrow)
    found = ours(target, source=source, attended=valid.unsqueeze(0))[0]
    np.testing.assert_allclose(found, expected, atol=1e-10)


@torch.no_grad()
def test_the_convolution_sees_neighbors_and_the_first_group_reads_alone():
    spec = {"a": SPECS["a"]}
    encoder, x = make_encoder([("a",)], specs=spec), make_rows()["a"]
    weight = encoder.inputs[0].weights["map"][0, 0].T.unflatten(1, (3, 3))
    steps = nn.functional.conv1d(x[0].transpose(1, 2), weight, padding=1).transpose(1, 2)
    steps = steps + sine_positions(9, steps)
    valid = torch.ones(1, 4, 9, dtype=torch.bool)
    expected = encoder.alone[0](steps.unsqueeze(0), attended=valid)[0, :, -1]
    np.testing.assert_allclose(encoder({"a": x})["a"][0, 0], expected, atol=1e-12)


@torch.no_grad()
def test_padding_changes_nothing():
    encoder, x = make_encoder(n_members=2), make_rows()
    lengths = {"a": (9, 3, 1, 6), "t": (1, 5, 2, 5), "v": (12, 4, 7, 2)}
    for name, block in x.items():
        for row, length in enumerate(lengths[name]):
            block[:, row, length:] = torch.nan
    expected = encoder(x)
    longer = {
        name: nn.functional.pad(block, (0, 0, 0, 4 + len(name)), value=torch.nan)
        for name, block in x.items()
    }
    for name, value in encoder(longer).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-12)
    for row in range(4):
        alone = encoder({n: b[:, row : row + 1, : lengths[n][row]] for n, b in x.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(value[:, :, 0], expected[name][:, :, row], atol=1e-12)


@torch.no_grad()
def test_a_sequence_of_padding_alone_stays_finite():
    encoder, x = make_encoder(), make_rows()
    x["t"][:, 1] = torch.nan
    out = encoder(x)
    assert all(value.isfinite().all() for value in out.values())
    # And tells the others nothing, however long it is.
    longer = x | {"t": nn.functional.pad(x["t"], (0, 0, 0, 6), value=torch.nan)}
    for name, value in encoder(longer).items():
        np.testing.assert_allclose(value, out[name], atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("group", [1, 4, 6])
def test_a_part_is_one_group_of_the_whole(group):
    encoder, x = make_encoder(n_members=2), make_rows()
    part = encoder.part(group)({name: x[name] for name in GROUPS[group]})
    for name, value in part.items():
        copy = encoder.readers[name].index(group)
        np.testing.assert_allclose(value[:, 0], encoder(x)[name][:, copy], atol=1e-12)


def test_rows_are_read_in_pieces_and_longer_sequences_cost_more(monkeypatch):
    encoder, x = make_encoder(n_members=2), make_rows()
    expected = encoder(x)
    monkeypatch.setattr(_mult, "MAX_HELD", 2 * 4 * WIDTH * sum(STEPS.values()) * 3)
    with torch.no_grad():
        for name, value in encoder(x).items():  # three rows, then one
            np.testing.assert_allclose(value, expected[name].detach(), atol=1e-12)
    twice = {name: torch.cat([block, block], dim=2) for name, block in x.items()}
    assert encoder.cost(twice) > 1.9 * encoder.cost(x)


@torch.no_grad()
def test_a_group_reads_its_own_modalities_wherever_their_steps_are():
    encoder, x = make_encoder(n_members=2), make_rows()
    before = encoder(x)
    for name in FEATURES:
        for step in (0, STEPS[name] // 2, STEPS[name] - 1):
            other = x | {name: x[name].clone()}
            other[name][:, :, step] += 1
            after = encoder(other)
            for target, readers in encoder.readers.items():
                for copy, group in enumerate(readers):
                    same = torch.allclose(before[target][:, copy], after[target][:, copy])
                    assert same == (name not in GROUPS[group]), (name, step, target, group)


@torch.no_grad()
def test_members_and_groups_have_parameters_of_their_own():
    x, several = make_rows(), make_encoder(n_members=2)(make_rows())
    for member in range(2):
        single = make_encoder(seed=member)(x)
        for name, value in several.items():
            np.testing.assert_allclose(value[member], single[name][0], atol=1e-12)
    # Drawn group after group: more groups leave the first ones as they are.
    fewer = make_encoder(GROUPS[:4])(x)
    np.testing.assert_allclose(several["a"][0, :2], fewer["a"][0], atol=1e-12)


def test_every_parameter_learns():
    encoder = make_encoder()
    sum(value.square().sum() for value in encoder(make_rows()).values()).backward()
    # The key's bias moves all similarities of a query alike, which its softmax does not see.
    for name, parameter in encoder.named_parameters():
        gradient = parameter.grad
        if "key_value" in name and "biases" in name:
            gradient = gradient[..., WIDTH:]
        assert gradient.abs().sum(dim=tuple(range(2, gradient.dim()))).min() > 0, name


@torch.no_grad()
def test_the_triple_has_an_interaction_that_no_sum_of_pairs_has():
    mlps, x = make_mlps(), make_rows(n=5)
    (triple,) = [t for t in mlps.separate(x, [Term(g) for g in GROUPS]) if len(t.names) == 3]
    effects = exact_effects(triple.evaluate, triple.names, Pool(5), 3)
    size = {subset: value.std() for subset, value in effects.values.items()}
    assert size["a", "t", "v"] > 0.02 * max(size.values())


@torch.no_grad()
@pytest.mark.parametrize("vectors", [(), ("w",)])
def test_separated_terms_are_the_terms(vectors):
    groups = [*GROUPS, ("a", "w"), ("a", "t", "w")] if vectors else GROUPS
    mlps, x = make_mlps(2, groups=groups, vectors=vectors), make_rows()
    if vectors:
        x["w"] = torch.randn(4, 2, dtype=torch.float64, generator=members(1)[0])
    values, rows = mlps(x).mean(dim=0), np.array([0, 2, 2])
    for g, term in enumerate(mlps.separate(x, [Term(group) for group in groups])):
        found = term.evaluate(dict.fromkeys(term.names, rows))
        np.testing.assert_allclose(found, values[g, rows], atol=1e-12)
        mixed = {name: np.roll(rows, i) for i, name in enumerate(term.names)}
        whole = {
            n: b[:, mixed.get(n, rows)] if b.dim() == 4 else b[mixed.get(n, rows)]
            for n, b in x.items()
        }
        np.testing.assert_allclose(term.evaluate(mixed), mlps(whole).mean(dim=0)[g], atol=1e-12)


@torch.no_grad()
def test_a_net_standardizes_and_reads_each_member_its_own_way():
    net = MRONet(
        in_features=dict.fromkeys(SPECS, WIDTH),
        encoders=SPECS,
        terms=[Term(group) for group in GROUPS],
        n_outputs=1,
        n_members=2,
        input_scaling="standard",
        staged=True,
        stop_gradient=True,
        fusion="concat",
        share_encoders=False,
        hidden=(4,),
        activation="relu",
        tensor_dim=3,
    )
    net.reset_parameters(members(2))
    values = net.double()({name: block[0] for name, block in make_rows().items()}).values
    assert values.shape == (2, 7, 4, 1)
    assert (values[0] - values[1]).abs().min() > 0
