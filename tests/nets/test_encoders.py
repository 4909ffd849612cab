"""Encoders: copies are independent, padding is nothing, and equations are those of torch."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_mmfuse._terms import interaction_terms
from sklearn_mmfuse._training._batches import draw_mask
from sklearn_mmfuse.nets import ENCODERS, EncoderSpec, MaskReader, MRONet
from sklearn_mmfuse.nets._encoders import make_encoder
from sklearn_mmfuse.nets._group_mlps import GroupMLPs

SEQUENCES = ["gru", "lstm", "transformer", "conv1d"]
OPTIONS = {
    "gru": (("n_layers", 2),),
    "lstm": (("n_layers", 2),),
    "transformer": (("n_heads", 2), ("n_layers", 2)),
    "conv1d": (("kernel_size", 3), ("n_layers", 2)),
    "conv2d": (("channels", (3, 5)),),
}


class Mean(nn.Module):
    """A user's module that reads the mask."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 6)

    def forward(self, x, mask):
        kept = mask.unsqueeze(-1).to(x)
        return self.linear((x * kept).sum(1) / kept.sum(1))


def make_spec(kind, n_features=3):
    if kind == "conv2d":
        return EncoderSpec(kind, (2, 9, 6), 6, OPTIONS[kind])
    return EncoderSpec(kind, (None, n_features), 6, OPTIONS.get(kind, ()))


def make_bank(kind, members=2, copies=3):
    bank = make_encoder(make_spec(kind), n_members=members, n_copies=copies, activation="tanh")
    for copy in range(copies):
        bank.reset_copy(
            copy, [torch.Generator().manual_seed(10 * e + copy) for e in range(members)]
        )
    return bank.double()


def make_rows(kind, n_copies=6, n_rows=5, n_steps=7):
    shape = (2, 9, 6) if kind == "conv2d" else (n_steps, 3)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_copies, n_rows, *shape, dtype=torch.float64, generator=generator)


def cut(x, lengths=(7, 3, 1, 5, 2)):
    """Make all steps after each row's length padding."""
    x = x.clone()
    for row, length in enumerate(lengths):
        x[:, row, length:] = torch.nan
    return x


@torch.no_grad()
@pytest.mark.parametrize("kind", [*SEQUENCES, Mean])
def test_padding_changes_nothing(kind):
    bank, x = make_bank(kind), cut(make_rows(kind))
    expected = bank(x)
    assert expected.isfinite().all()
    longer = torch.cat([x, torch.full((6, 5, 4, 3), torch.nan, dtype=torch.float64)], dim=2)
    torch.testing.assert_close(bank(longer), expected, rtol=0, atol=1e-12)
    for row, length in enumerate((7, 3, 1, 5, 2)):
        alone = bank(x[:, row : row + 1, :length])
        torch.testing.assert_close(alone, expected[:, row : row + 1], rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("kind", list(ENCODERS))
def test_copies_are_the_single_encoders_of_their_seeds(kind):
    bank, x = make_bank(kind), make_rows(kind)
    together = bank(x).unflatten(0, (2, 3))
    for member in range(2):
        for copy in range(3):
            single = make_encoder(make_spec(kind), n_members=1, n_copies=1, activation="tanh")
            single.reset_copy(0, [torch.Generator().manual_seed(10 * member + copy)])
            position = 3 * member + copy
            alone = single.double()(x[position : position + 1])
            torch.testing.assert_close(alone[0], together[member, copy], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in ENCODERS if kind != "mean"])
def test_every_parameter_learns(kind):
    bank, x = make_bank(kind, members=1, copies=1), make_rows(kind, n_copies=1)
    bank(x).square().sum().backward()
    # The transformer's last bias before the output is seen by everything.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in bank.parameters())


def with_torchs_weights(bank, theirs, gates):
    """Copy the weights of a one-layer torch module; torch orders gates the same way."""
    with torch.no_grad():
        for ours, name in (("input_0", "weight_ih_l0"), ("state_0", "weight_hh_l0")):
            bank.weights[ours][0, 0] = getattr(theirs, name).T
            bank.biases[ours][0, 0] = getattr(theirs, name.replace("weight", "bias"))
    assert len(theirs.weight_ih_l0) == gates * theirs.hidden_size
    return bank


@torch.no_grad()
@pytest.mark.draws_globally
@pytest.mark.parametrize(("kind", "module", "gates"), [("gru", nn.GRU, 3), ("lstm", nn.LSTM, 4)])
def test_recurrent_equations_are_torchs(kind, module, gates):
    theirs = module(3, 6, batch_first=True).double()
    spec = EncoderSpec(kind, (None, 3), 6)
    ours = make_encoder(spec, n_members=1, n_copies=1, activation="relu").double()
    x = make_rows(kind, n_copies=1)
    found = with_torchs_weights(ours, theirs, gates)(x)
    torch.testing.assert_close(found[0], theirs(x[0])[0][:, -1])


@torch.no_grad()
def test_conv1d_is_torchs_convolution_and_a_maximum():
    spec = EncoderSpec("conv1d", (None, 3), 6, (("kernel_size", 4),))
    bank = make_encoder(spec, n_members=1, n_copies=1, activation="relu")
    bank.reset_copy(0, [torch.Generator().manual_seed(0)])
    bank, x = bank.double(), make_rows("conv1d", n_copies=1)
    weight = bank.weights["0"][0, 0].T.unflatten(1, (3, 4))
    padded = nn.functional.pad(x[0].transpose(1, 2), (1, 2))
    expected = nn.functional.conv1d(padded, weight).amax(dim=2).relu()
    torch.testing.assert_close(bank(x)[0], expected)


@torch.no_grad()
def test_a_transformer_knows_the_order_of_steps_and_a_convolution_is_told_by_motifs():
    x = make_rows("transformer")
    bank = make_bank("transformer")
    assert (bank(x) - bank(x.flip(2))).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("kind", [*SEQUENCES, "conv2d"])
def test_a_net_gives_every_subset_a_copy_of_its_own(kind):
    spec = make_spec(kind)
    net = MRONet(
        in_features={"a": 6, "v": 2},
        encoders={"a": spec, "v": EncoderSpec("mlp", (2,), 2)},
        terms=interaction_terms(["a", "v"], 2),
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
    net.reset_parameters([torch.Generator().manual_seed(e) for e in range(2)])
    X = {"a": make_rows(kind)[0].float(), "v": torch.ones(5, 2)}
    before = net(X).values
    (bank,) = net.block.mlps.banks
    assert len(bank.weight(next(iter(bank.weights)))) == 2 * 2  # members times (a) and (a, v)
    for parameter in bank.parameters():
        parameter[:, 1] += 0.1  # the copy of a x v
    after = net(X).values
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (before[:, 2] - after[:, 2]).abs().max() > 0


@pytest.mark.parametrize("kind", SEQUENCES)
def test_the_statistics_of_inputs_are_taken_per_feature(kind):
    spec = make_spec(kind)
    assert spec.feature_shape == (1, 3)
    assert EncoderSpec("conv2d", (2, 9, 6), 6).feature_shape == (2, 1, 1)
    assert EncoderSpec("mlp", (4,), 4).feature_shape == (4,)


@pytest.mark.parametrize("n_members", [1, 3])
def test_features_are_dropped_to_their_means(n_members):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n_members, 40, 6, generator=generator, dtype=torch.float64) + 10.0
    x[..., 0] = 7.0  # does not vary, and so says the same whether it is dropped or not
    mask = (torch.rand(n_members, 240, generator=generator, dtype=torch.float64) < 0.8) / 0.8
    dropped = MaskReader(mask).to_mean(x)
    torch.testing.assert_close(dropped[..., 0], x[..., 0])
    mean, own = x.mean(dim=1, keepdim=True), mask.view(n_members, 40, 6)
    torch.testing.assert_close(dropped, torch.where(own > 0, mean + (x - mean) / 0.8, mean))
    assert MaskReader(None).to_mean(x) is x


def test_encoders_that_hardly_vary_are_not_drowned_by_dropout():
    # The largest response of random filters has a mean that is many of its deviations away from 0.
    rng = np.random.default_rng(0)
    X = {name: torch.tensor(rng.normal(size=(200, 60, 4))) for name in "at"}
    specs = {name: EncoderSpec("conv1d", (None, 4), 16) for name in X}
    net = GroupMLPs(
        in_features=dict.fromkeys(X, 16),
        groups=[("a",), ("t",)],
        hidden=(8,),
        n_outputs=1,
        n_members=1,
        activation="relu",
        encoders=specs,
    ).double()
    net.reset_parameters([torch.Generator().manual_seed(0)])
    with torch.no_grad():
        quiet = net.bring(X)["a"]
        mask = draw_mask(2 * 200 * 16, 0.9, torch.Generator().manual_seed(1), like=quiet)
        loud = net.bring(X, MaskReader(mask.unsqueeze(0)))["a"]
    spread = quiet.std(dim=1).mean()
    assert (loud - quiet).square().mean().sqrt() < 0.6 * spread
