"""The layers with a backward pass of their own against autograd's of the plain code."""

import itertools

import pytest
import torch
from torch.func import functional_call

from sklearn_mmfuse.nets import MaskReader
from sklearn_mmfuse.nets._group_kernels import WIDE
from sklearn_mmfuse.nets._group_mlps import GroupMLPs
from sklearn_mmfuse.nets._layers import ACTIVATIONS, GroupLinear

GROUPS = [("a",), ("v",), ("t",), ("v", "a"), ("a", "v", "t"), ("a",)]
WIDTHS = {"a": 3, "unread": 7, "v": 1, "t": 5}
N_ROWS = 6


def make_mlps(
    *, hidden=(4,), n_outputs=1, n_members=1, activation="relu", widths=WIDTHS, groups=GROUPS
):
    mlps = GroupMLPs(
        in_features=widths,
        groups=groups,
        hidden=hidden,
        n_outputs=n_outputs,
        n_members=n_members,
        activation=activation,
    ).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in mlps.parameters():  # biases, too
        parameter.data.normal_(generator=generator)
    return mlps


def make_rows(n_members=None, widths=WIDTHS, *, requires_grad=False):
    """Rows of each member, or rows that all share."""
    generator = torch.Generator().manual_seed(1)
    lead = () if n_members is None else (n_members,)
    return {
        name: torch.randn(
            *lead,
            N_ROWS,
            width,
            dtype=torch.float64,
            generator=generator,
            requires_grad=requires_grad,
        )
        for name, width in widths.items()
    }


def make_mask(mlps, n_members):
    generator = torch.Generator().manual_seed(2)
    mask = torch.empty(n_members, N_ROWS * mlps.n_mask_units, dtype=torch.float64)
    return mask.bernoulli_(0.6, generator=generator) / 0.6


def plain_embed(mlps, x, mask):
    drop = MaskReader(mask)
    return mlps.combine(mlps.bring(x, drop), drop)


def plain(mlps, x, mask):
    return mlps.read(plain_embed(mlps, x, mask))


def fast(mlps, x, mask):
    return mlps(x, MaskReader(mask))


def fast_embed(mlps, x, mask):
    return mlps.embed(x, MaskReader(mask))


def value_and_gradients(function, mlps, x, mask):
    out = function(mlps, x, mask)
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(out.shape, dtype=out.dtype, generator=generator)
    sources = [*mlps.parameters(), *(block for block in x.values() if block.requires_grad)]
    return out, torch.autograd.grad((out * weight).sum(), sources, allow_unused=True)


def assert_alike(one, other, mlps, x, mask):
    value, gradients = value_and_gradients(one, mlps, x, mask)
    expected, expected_gradients = value_and_gradients(other, mlps, x, mask)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (4,), (4, 20), (20, 4)])
@pytest.mark.parametrize("n_outputs", [1, 4, 17])
def test_values_and_gradients_are_those_of_the_plain_code(activation, hidden, n_outputs):
    for n_members, shared, masked in itertools.product([1, 3], [False, True], [False, True]):
        mlps = make_mlps(
            hidden=hidden, n_outputs=n_outputs, n_members=n_members, activation=activation
        )
        x = make_rows(None if shared else n_members, requires_grad=True)
        mask = make_mask(mlps, n_members) if masked else None
        assert_alike(fast, plain, mlps, x, mask)
        assert_alike(fast_embed, plain_embed, mlps, x, mask)


@pytest.mark.parametrize("shared", [False, True])
def test_wide_modalities_read_once_for_all_groups(shared):
    widths = {"a": WIDE, "v": 2, "t": WIDE + 1}
    mlps = make_mlps(n_members=2, widths=widths)
    x = make_rows(None if shared else 2, widths, requires_grad=True)
    assert_alike(fast, plain, mlps, x, None)


def test_inputs_without_gradient_get_none():
    mlps, x = make_mlps(n_members=2), make_rows()
    assert_alike(fast, plain, mlps, x, None)
    x["v"].requires_grad_()
    assert_alike(fast, plain, mlps, x, None)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_finite_differences(activation):
    mlps = make_mlps(hidden=(3, 2), n_outputs=2, n_members=2, activation=activation)
    x, mask = make_rows(requires_grad=True), make_mask(mlps, 2)
    names, parameters = zip(*mlps.named_parameters(), strict=True)

    def function(*tensors):
        rows = dict(zip(x, tensors[: len(x)], strict=True))
        state = dict(zip(names, tensors[len(x) :], strict=True))
        return functional_call(mlps, state, (rows, MaskReader(mask)))

    assert torch.autograd.gradcheck(function, [*x.values(), *parameters])


def test_what_comes_back_is_not_overwritten():
    mlps, x = make_mlps(hidden=(4,)), make_rows()
    out = mlps.embed(x)
    grad = torch.ones_like(out)
    out.backward(grad)
    assert (grad == 1).all()


def test_members_by_themselves_are_slices_of_all():
    mlps, x = make_mlps(hidden=(4, 3), n_members=3), make_rows(3)
    every = mlps(x)
    some = torch.tensor([2, 0])
    state = {name: parameter[some] for name, parameter in mlps.named_parameters()}
    alone = functional_call(mlps, state, ({name: block[some] for name, block in x.items()},))
    torch.testing.assert_close(alone, every[some], rtol=1e-12, atol=1e-12)
    # Strided state, as of members that share memory.
    strided = {name: p.mT.contiguous().mT for name, p in mlps.named_parameters()}
    torch.testing.assert_close(functional_call(mlps, strided, (x,)), every, rtol=1e-12, atol=1e-12)


def test_a_second_derivative_raises_and_is_not_wrong():
    mlps, x = make_mlps(activation="tanh"), make_rows(requires_grad=True)
    (gradient,) = torch.autograd.grad(mlps(x).square().sum(), x["a"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_prediction_takes_the_plain_code(monkeypatch):
    def refuse(*args):
        raise AssertionError("not for prediction")

    mlps, x = make_mlps(), make_rows()
    trained = mlps(x)
    monkeypatch.setattr("sklearn_mmfuse.nets._group_mlps.run_layers", refuse)
    with torch.no_grad():
        torch.testing.assert_close(mlps(x), trained, rtol=1e-12, atol=1e-12)


def test_masks_have_gradients_too():
    mlps, x = make_mlps(hidden=(4, 3), n_members=2), make_rows()
    masks = [make_mask(mlps, 2).requires_grad_() for _ in range(2)]
    fast(mlps, x, masks[0]).sum().backward()
    plain(mlps, x, masks[1]).sum().backward()
    torch.testing.assert_close(masks[0].grad, masks[1].grad, rtol=1e-12, atol=1e-12)


def test_frozen_parameters_and_no_gradient_at_all():
    mlps, x = make_mlps().requires_grad_(False), make_rows()
    assert not mlps(x).requires_grad
    mlps.later.requires_grad_(True)
    mlps(x).sum().backward()
    assert mlps.first_bias.grad is None
    assert mlps.later[0].weight.grad is not None


def test_only_what_is_asked_for_gets_a_gradient():
    mlps, x = make_mlps(), make_rows(requires_grad=True)
    mlps.first[1].requires_grad_(False)
    x["t"].requires_grad_(False)
    mlps(x).sum().backward()
    assert [p.grad is None for p in mlps.first] == [False, True, False]
    assert [x[name].grad is None for name in ("a", "v", "t")] == [False, False, True]


@pytest.mark.parametrize("n_outputs", [1, 2, 15, 16])
def test_group_linear_is_one_map_per_group(n_outputs):
    layer = GroupLinear(n_members=2, n_groups=3, in_features=4, out_features=n_outputs).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(6, 5, 4, dtype=torch.float64, generator=generator)
    weight, bias = layer.weight.flatten(0, 1), layer.bias.flatten(0, 1)
    expected = torch.stack([x[i] @ weight[i] + bias[i] for i in range(6)])
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
