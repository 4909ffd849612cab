"""Member-batched layers: one matrix product serves all members and all sub-nets of equal shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ACTIVATIONS",
    "NARROW",
    "GroupLinear",
    "InputScaling",
    "MaskReader",
    "of_members",
    "side_streams",
    "uniform_fan_in_",
]

# MKL multiplies by fewer columns several times slower than it multiplies as few rows.
NARROW = 16

SIDE_STREAMS = 2**33  # far from the seeds of everything else that is drawn for a net

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


@torch.no_grad()
def uniform_fan_in_(weight: Tensor, fan_in: int, generators: Sequence[torch.Generator]) -> None:
    """Fill `weight` `(E, ...)` from U(-1, 1) / sqrt(fan_in), member e from `generators[e]`.

    Drawn in float64 on the CPU, so that a seed means the same net in either precision and on any
    device.
    """
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    for member, generator in zip(weight, generators, strict=True):
        draw = torch.empty(member.shape, dtype=torch.float64)
        member.copy_(draw.uniform_(-bound, bound, generator=generator))


def of_members(x: Tensor, n_members: int) -> Tensor:
    """Return the rows of every member, `(E, B, d)`, without a copy of what they share."""
    return x if x.dim() == 3 else x.expand(n_members, -1, -1)


def side_streams(generators: Sequence[torch.Generator], number: int) -> list[torch.Generator]:
    """Return generators that depend on the seeds of these and on a number.

    What is drawn from them leaves all other draws as they are.
    """
    seeds = [(own.initial_seed() + SIDE_STREAMS + number) % 2**63 for own in generators]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class GroupLinear(nn.Module):
    """G independent linear maps for each of E members, as one batched product.

    **Shape**: `(E * G, B, in)` to `(E * G, B, out)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._layers import GroupLinear
    >>> layer = GroupLinear(n_members=2, n_groups=3, in_features=4, out_features=5)
    >>> layer(torch.zeros(6, 10, 4)).shape
    torch.Size([6, 10, 5])
    """

    def __init__(
        self, *, n_members: int, n_groups: int, in_features: int, out_features: int
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_members, n_groups, in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(n_members, n_groups, 1, out_features))

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the weights; biases start at zero."""
        uniform_fan_in_(self.weight, self.weight.shape[2], generators)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply map g of member e to block `e * G + g` of `x`."""
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten(0, 1)
        if weight.shape[2] == 1:  # a batched product of width one is slower than a weighted sum
            return (x * weight.transpose(1, 2)).sum(dim=2, keepdim=True) + bias
        if weight.shape[2] < NARROW:
            return torch.baddbmm(bias.mT, weight.mT, x.mT).mT
        return torch.baddbmm(bias, x, weight)


class InputScaling(nn.Module):
    """Standardize a modality by population statistics that are set once, before training.

    **Shape**: `(B, *sample)` or `(E, B, *sample)` to `(E, B, *sample)`.

    Parameters
    ----------
    n_members : int
        E.
    feature_shape : tuple of int
        The shape of a sample, with 1 for every axis that shares its statistics: `(d,)`, `(1, d)`
        of a sequence, `(C, 1, 1)` of an image.
    clip : float or None
        Values are clipped at so many standard deviations.
    gain : float, default=1.0
        How long a standard deviation is afterwards.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        *,
        n_members: int,
        feature_shape: tuple[int, ...],
        clip: float | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.clip = None if clip is None else clip * gain
        self.register_buffer("scale", torch.ones(n_members, 1, *feature_shape))
        self.register_buffer("shift", torch.zeros(n_members, 1, *feature_shape))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardize by `mean` and `std`, each `(d,)`; a feature without spread becomes zero."""
        scale = torch.where(std > 0, self.gain / std.clamp_min(torch.finfo(std.dtype).tiny), 0.0)
        shape = self.scale.shape[2:]
        self.scale.copy_(scale.view(shape))
        self.shift.copy_((-mean * scale).view(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x * scale + shift`, clipped when asked for."""
        x = torch.addcmul(self.shift, x, self.scale)
        return x if self.clip is None else x.clamp(-self.clip, self.clip)


class MaskReader:
    """Hands out a dropout mask layer by layer; without a mask, does nothing.

    One random draw per step serves every layer: drawing per layer costs as much as the net itself.

    Parameters
    ----------
    mask : Tensor of shape (E, units) or None
        A row for every member, so that each is dropped from as if it were alone.
    """

    def __init__(self, mask: Tensor | None) -> None:
        self._mask = mask
        self._position = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Multiply `x`, whose first axis has the members outermost, by its entries of the mask."""
        if self._mask is None:
            return x
        start, self._position = self._position, self._position + x.numel() // len(self._mask)
        # Members that drop alike share one row (stride 0): only views here, no copies.
        mask = self._mask[:, start : self._position]
        return (x.reshape(mask.shape) * mask).view(x.shape)

    def to_mean(self, x: Tensor, which: Tensor | None = None) -> Tensor:
        """Return features `(..., B, H)`, those that are dropped at their means over the batch.

        Features that hardly vary, such as the largest response of a filter, are drowned by what
        dropping them to zero adds. `which` is zero where zero is meant all the same.
        """
        if self._mask is None:
            return x
        mean = x.mean(dim=-2, keepdim=True)
        if which is not None:
            mean = mean * which
        return mean + self(x - mean)
