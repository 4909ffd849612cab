"""The layers of many small perceptrons with a backward pass written by hand, for training.

On small nets the products are the lesser part of a step. Autograd's own record of the layers passes
over the hidden units more often than the mathematics does: for copies between layouts, for results
that could be written in place, for a bias that a product could start from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sklearn_mmfuse.nets._layers import NARROW

__all__ = ["Wiring", "run_layers"]

WIDE = 256  # modalities from here on are read once for all groups, narrower ones for each

aten = torch.ops.aten
Masks = Sequence[Tensor | None]


def _relu(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    # What the mask zeroes has no gradient anyway, so the derivative can be read off afterwards.
    x = x.relu_() if mask is None else x.relu_().mul_(mask)
    return x, x


def _tanh(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    x = x.tanh_()
    return x, x if mask is None else x * mask


def _gelu(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    return x, F.gelu(x) if mask is None else F.gelu(x).mul_(mask)


def _silu(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    return x, F.silu(x) if mask is None else F.silu(x).mul_(mask)


@dataclass(frozen=True)
class _Activation:
    """An activation and its derivative.

    `apply(x, mask)` may overwrite x; it returns what the derivative is read off, and the units,
    masked. `differentiate(grad, kept, grad_input=)` multiplies a gradient by the derivative.
    """

    apply: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
    differentiate: Callable[..., Tensor]


def _threshold_backward(grad: Tensor, kept: Tensor, *, grad_input: Tensor) -> Tensor:
    return aten.threshold_backward.grad_input(grad, kept, 0, grad_input=grad_input)


_ACTIVATIONS: dict[Callable[[Tensor], Tensor], _Activation] = {
    torch.relu: _Activation(_relu, _threshold_backward),
    torch.tanh: _Activation(_tanh, aten.tanh_backward.grad_input),
    F.gelu: _Activation(_gelu, aten.gelu_backward.grad_input),
    F.silu: _Activation(_silu, aten.silu_backward.grad_input),
}


@dataclass(frozen=True)
class Wiring:
    """What the layers are besides numbers.

    Parameters
    ----------
    reads : sequence of sequence of (int, int)
        For each group, the modalities it reads, and which of the readers of each it is.
    readers : sequence of sequence of int
        For each modality, the groups that read it.
    activation : callable
        One of the values of `nets._layers.ACTIVATIONS`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._group_kernels import Wiring
    >>> Wiring.of([[0], [1], [0, 1]], n_modalities=2, activation=torch.relu).readers
    [[0, 2], [1, 2]]
    """

    reads: Sequence[Sequence[tuple[int, int]]]
    readers: Sequence[Sequence[int]]
    activation: Callable[[Tensor], Tensor]

    @classmethod
    def of(
        cls,
        groups: Sequence[Sequence[int]],
        *,
        n_modalities: int,
        activation: Callable[[Tensor], Tensor],
    ) -> Wiring:
        """Return the wiring of groups of modalities."""
        readers = [[g for g, own in enumerate(groups) if m in own] for m in range(n_modalities)]
        reads = [[(m, readers[m].index(g)) for m in own] for g, own in enumerate(groups)]
        return cls(reads, readers, activation)


def run_layers(
    wiring: Wiring,
    x: Sequence[Tensor],
    first: Sequence[Tensor],
    first_bias: Tensor,
    later: Sequence[tuple[Tensor, Tensor]],
    masks: Masks,
) -> Tensor:
    """Return what the layers make of the modalities, `(E, G, B, width)`.

    With as many masks as later layers the last layer is linear; with one more, it is hidden.

    **Shape**: modalities `(E, B, d)`, of which members may share the memory; their weights
    `(E, d, R * H)` for R readers; `first_bias` `(E, 1, G, H)`; `later` weights `(E, G, in, out)`
    and biases `(E, G, 1, out)`; `masks`, one for each activation, `(E, G, B, H)`.
    """
    row = [*x, *first, first_bias, *(tensor for layer in later for tensor in layer)]
    out: Tensor = _Layers.apply(wiring, masks, *row)
    return out


class _Layers(torch.autograd.Function):
    """First products, then activation, mask and batched product, layer after layer."""

    @staticmethod
    def forward(ctx: Any, wiring: Wiring, masks: Masks, *row: Tensor) -> Tensor:
        x, first, bias, later = _take_apart(row, len(wiring.readers))
        apply = _ACTIVATIONS[wiring.activation].apply
        hidden = _first_products(wiring, x, first, bias)
        units = []
        for position, mask in enumerate(masks):
            kept, hidden = apply(hidden, mask)
            units += [kept, hidden]
            if position < len(later):
                hidden = _linear(hidden, *later[position])
        ctx.save_for_backward(*row, *units)
        ctx.wiring, ctx.masks = wiring, masks
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wiring, saved, n = ctx.wiring, ctx.saved_tensors, len(ctx.wiring.readers)
        n_row = len(saved) - 2 * len(ctx.masks)
        x, first, _, later = _take_apart(saved[:n_row], n)
        grad, scale, d_later = _later_gradients(wiring, grad, later, saved[n_row:], ctx.masks)
        needs = ctx.needs_input_grad[2 : 2 + 2 * n]
        d_first = _first_gradients(wiring, grad, scale, x, first, needs)
        d_bias = grad.sum(dim=2).unsqueeze(1)
        return (None, None, *d_first, d_bias if scale is None else d_bias.mul_(scale), *d_later)


def _take_apart(
    row: Sequence[Tensor], n: int
) -> tuple[Sequence[Tensor], Sequence[Tensor], Tensor, list[Sequence[Tensor]]]:
    """Return modalities, first weights, their bias, and later layers."""
    later = [row[i : i + 2] for i in range(2 * n + 1, len(row), 2)]
    return row[:n], row[n : 2 * n], row[2 * n], later


def _first_products(
    wiring: Wiring, x: Sequence[Tensor], first: Sequence[Tensor], bias: Tensor
) -> Tensor:
    """Return a bias plus the products of the modalities, for each group: `(E, G, B, H)`."""
    n_members, _, n_groups, n_hidden = bias.shape
    total = bias.new_empty(n_members, n_groups, x[0].shape[1], n_hidden)
    wide = [modality.shape[2] >= WIDE for modality in x]
    # Products of wide modalities, weights of narrow ones, for each reader.
    blocks = [
        (torch.bmm(modality, weight) if is_wide else weight).split(n_hidden, dim=2)
        for modality, weight, is_wide in zip(x, first, wide, strict=True)
    ]
    for out, start, reads in zip(total.unbind(1), bias.unbind(2), wiring.reads, strict=True):
        for m, slot in reads:
            if wide[m]:
                start = torch.add(start, blocks[m][slot], out=out)
            else:
                start = torch.baddbmm(start, x[m], blocks[m][slot], out=out)
    return total


def _first_gradients(
    wiring: Wiring,
    grad: Tensor,
    scale: Tensor | None,
    x: Sequence[Tensor],
    first: Sequence[Tensor],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of modalities, then of their weights; None where there is no need."""
    of_group = grad.unbind(1)
    d_x: list[Tensor | None] = []
    d_first: list[Tensor | None] = []
    needed = zip(needs[: len(x)], needs[len(x) :], strict=True)
    for modality, weight, readers, (x_needs, weight_needs) in zip(
        x, first, wiring.readers, needed, strict=True
    ):
        units = None if scale is None else scale[:, :, readers].flatten(2)  # (E, 1, R * H)
        d_outs = [of_group[g] for g in readers]
        if len(grad) == 1 or modality.shape[2] >= WIDE or x_needs:
            # A copy, so that one product serves all readers of a modality and reads it once.
            d_outs = [torch.cat(d_outs, dim=2)]
        scaled = weight if units is None else weight * units
        d_x.append(torch.bmm(d_outs[0], scaled.mT) if x_needs else None)
        d_weight = _products(modality.mT, d_outs) if weight_needs else None
        d_first.append(d_weight if units is None or d_weight is None else d_weight.mul_(units))
    return [*d_x, *d_first]


def _products(x: Tensor, d_outs: Sequence[Tensor]) -> Tensor:
    """Return products with several matrices, side by side."""
    if len(d_outs) == 1:
        return torch.bmm(x, d_outs[0])
    n_hidden = d_outs[0].shape[2]
    total = x.new_empty(*x.shape[:2], len(d_outs) * n_hidden)
    for d_out, block in zip(d_outs, total.split(n_hidden, dim=2), strict=True):
        torch.bmm(x, d_out, out=block)
    return total


def _later_gradients(
    wiring: Wiring,
    grad: Tensor,
    later: Sequence[Sequence[Tensor]],
    units: Sequence[Tensor],
    masks: Masks,
) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    """Return the gradient of the first products, and those of the later layers.

    The former is yet to be multiplied by the second result, `(E, 1, G, H)`, where there is one: a
    last layer of one output right behind the first products is a factor of each hidden unit, and
    a product of fewer numbers once rows are summed over.
    """
    differentiate = _ACTIVATIONS[wiring.activation].differentiate
    gradients: list[Tensor] = []
    scale = None
    for position in reversed(range(len(masks))):
        kept, hidden = units[2 * position : 2 * position + 2]
        if position < len(later):
            weight = later[position][0]
            gradients = [_d_weight(hidden, grad, weight), grad.sum(2, keepdim=True), *gradients]
            if weight.shape[3] == 1 and position == 0:
                scale, grad = weight.mT.transpose(1, 2), grad.expand(kept.shape)
                own = torch.empty_like(kept)
            else:
                grad = own = _d_input(grad, weight)
        else:
            own = torch.empty_like(kept)  # what comes from outside must not be overwritten
        if (mask := masks[position]) is not None:
            grad = torch.mul(grad, mask, out=own)
        grad = differentiate(grad, kept, grad_input=own)
    return grad, scale, gradients


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.shape[3] < NARROW:
        return torch.matmul(weight.mT, x.mT).mT + bias
    return torch.matmul(x, weight).add_(bias)


def _d_weight(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    return torch.matmul(grad.mT, x).mT if weight.shape[3] < NARROW else torch.matmul(x.mT, grad)


def _d_input(grad: Tensor, weight: Tensor) -> Tensor:
    # An outer product is quicker as a product of numbers.
    return grad * weight.mT if weight.shape[3] == 1 else torch.matmul(grad, weight.mT)
