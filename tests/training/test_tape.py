"""What is replayed is what would be computed again."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from sklearn_mmfuse._training._tape import Tape


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_gradient(function):
    """Make a function return the gradient of its sum as well."""

    def both(x):
        leaf = x.requires_grad_() if x.is_leaf else x
        leaf.grad = None
        result = function(leaf)
        result.sum().backward()
        return result, leaf.grad

    return both


def in_place(x):
    y = x.clone()
    y[1:].mul_(2.0)
    y.select(1, 0).add_(x[:, 1])
    return y


def filled(x):
    out = torch.empty(3, 3, dtype=x.dtype)
    torch.mm(x.detach()[:3, :3], x.detach()[:3, :3], out=out)
    return torch.cat([out, x[:, :3], out.new_zeros(1, 3), torch.full((1, 3), 2.0, dtype=x.dtype)])


def reshaped_in_place(x):
    total = (x + 1).sum(dim=0, keepdim=True)
    first = total * 2
    total.squeeze_(0)
    return first.squeeze(0) + total


def grown(x):
    out = torch.empty(0, dtype=x.dtype)
    torch.mm(x.detach(), x.detach().T, out=out)
    return out + x[:, :1]


FUNCTIONS = {
    "arithmetic": lambda x: (3 * x + 1).exp().sum(dim=0) / x.mean(),
    "views": lambda x: x.T.reshape(-1, 2)[::2].unsqueeze(0).expand(2, -1, -1).flatten(1),
    "in place": in_place,
    "filled": filled,
    "several results": lambda x: torch.cat([*x.sort(dim=0).values.unbind(1), x.max(dim=0).values]),
    "some results are nothing": lambda x: F.layer_norm(x, x.shape[1:]),
    "picked by number": lambda x: x[:, [2, 0, 2]],
    "constants": lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=x.dtype) + torch.ones(4),
    "reshaped in place": reshaped_in_place,
    "grown": grown,
    "a list of one": lambda x: torch.split_copy(x, 5)[0] * torch._foreach_mul([x], 2.0)[0].detach(),
    "told a type": lambda x: x.float().sum(dim=1, dtype=torch.float64) + torch.norm(x, 2, 1),
    "types": lambda x: (x.float() > 0).double() * x,
    "losses": lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, 0, 1])),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("backward", [False, True])
def test_what_is_replayed_is_what_would_be_computed(name, backward):
    function = with_gradient(FUNCTIONS[name]) if backward else lambda x: (FUNCTIONS[name](x),)
    x, other = drawn(5, 4), drawn(5, 4, seed=1)
    first = [result.detach().clone() for result in function(x.clone())]
    with Tape() as tape:
        results = function(x)
    assert tape.refusal is None
    for result, expected in zip(results, first, strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=0)  # recording changes nothing
    x.data.copy_(other)
    tape.replay()
    for result, expected in zip(results, function(other.clone()), strict=True):
        torch.testing.assert_close(result, expected, rtol=0, atol=0)


def with_statistics(x):
    mean, variance = torch.zeros(4).double(), torch.ones(4).double()
    norm = torch.ops.aten._native_batch_norm_legit
    return norm(x, None, None, mean, variance, True, 0.1, 1e-5)[0]


REFUSED = {
    "a number": (lambda x: x * float(x.sum()), "depends on values"),
    "a mask": (lambda x: x[x > 0], "depends on values"),
    "found": (lambda x: (x > 0).nonzero(), "depends on values"),
    "a decision": (lambda x: x if bool((x > 0).all()) else -x, "depends on values"),
    "a move": (lambda x: x.to("meta"), "moves between devices"),
    "a constant that is changed": (
        lambda x: torch.tensor([0.0] * 4, dtype=x.dtype).add_(x.mean(dim=0)),
        "writes into a constant",
    ),
    "results and changes": (with_statistics, "new memory beside other"),
    "sparse": (lambda x: x.to_sparse().to_dense(), "knows no memory"),
    "too much": (lambda x: x.expand(2**13, 5, 4) + 1, "too much memory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_repeated_is_computed_and_not_kept(name):
    function, why = REFUSED[name]
    x = drawn(5, 4)
    with Tape(memory=2**20) as tape:
        y = x + 1
        result = function(x)
        y = y + 1
    assert why in tape.refusal
    assert result.is_meta or torch.equal(result, function(x))
    assert torch.equal(y, x + 1 + 1)
    assert not tape._steps
    with pytest.raises(AssertionError):
        tape.replay()


def test_recording_does_not_load_the_compiler_of_torch():
    """Which takes longer than many a fit."""
    code = (
        "import sys, torch; from sklearn_mmfuse._training._tape import Tape\n"
        "x = torch.ones(2, requires_grad=True)\n"
        "with Tape() as tape: (2 * x).sum().backward()\n"
        "tape.replay(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
