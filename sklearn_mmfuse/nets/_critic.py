"""The statistics network: high where a representation is one that the data makes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_mmfuse.nets._layers import GroupLinear, MaskReader

__all__ = ["CRITIC_OUTPUTS", "Critic", "bounded", "max_min", "spectral_bound"]

CRITIC_OUTPUTS = ("linear", "sigmoid")
# Beyond these no batch could tell the mean of e^T from chance; a bounded T has bounded variance.
LOWEST, HIGHEST = -6.0, 8.0
SQUARINGS = 4


def bounded(t: Tensor) -> Tensor:
    """Return T kept between -6 and 8, smoothly, and nearly as it is around zero.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._critic import bounded
    >>> bounded(torch.tensor([-100.0, 1.0, 100.0])).round(decimals=2)
    tensor([-6.,  1.,  8.])
    """
    above = LOWEST + F.softplus(t - LOWEST)
    return HIGHEST - F.softplus(HIGHEST - above)


def max_min(x: Tensor) -> Tensor:
    """Return the larger and the smaller of every pair of units (Anil et al., 2019).

    It keeps distances, where a rectifier loses those of negative units: a net of spectral norm one
    then comes closer to the best Lipschitz function.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._critic import max_min
    >>> max_min(torch.tensor([1.0, 5.0, 3.0, 2.0]))
    tensor([3., 5., 1., 2.])
    """
    if x.shape[-1] % 2:
        x, odd = x[..., :-1], x[..., -1:]
    else:
        odd = x[..., :0]
    one, other = x.chunk(2, dim=-1)
    return torch.cat([torch.maximum(one, other), torch.minimum(one, other), odd], dim=-1)


def spectral_bound(weight: Tensor) -> Tensor:
    """Return an upper bound of the largest singular value of each matrix, `(..., 1, 1)`.

    Gram iteration (Delattre et al., 2023): squaring `W^T W` k times leaves the Schatten norm of
    order `2^(k+2)`, which is no less than the spectral norm and at most `rank^(1 / 2^(k+2))` times
    it (7 % for rank 64). A pure function with a gradient, where power iteration keeps a vector and
    may fall below.

    **Shape**: `(..., in, out)` to `(..., 1, 1)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._critic import spectral_bound
    >>> spectral_bound(torch.diag(torch.tensor([3.0, 1.0]))).round(decimals=4)
    tensor([[3.]])
    """
    thin = weight if weight.shape[-1] <= weight.shape[-2] else weight.transpose(-1, -2)
    tiny = torch.finfo(weight.dtype).tiny
    peak = thin.detach().abs().amax(dim=(-2, -1), keepdim=True).clamp_min(tiny**0.5)
    thin = thin / peak
    gram = thin.transpose(-1, -2) @ thin
    size = _frobenius(gram)
    if gram.shape[-1] == 1:
        return peak * size.sqrt()
    power = gram / size  # of norm one, and at least 1 / sqrt(rank): its powers do not vanish
    for _ in range(SQUARINGS):
        power = power @ power
    return peak * size.sqrt() * _frobenius(power) ** (0.5 ** (SQUARINGS + 1))


def _frobenius(matrix: Tensor) -> Tensor:
    total = matrix.square().sum(dim=(-2, -1), keepdim=True)
    return (total + torch.finfo(matrix.dtype).tiny).sqrt()


class Critic(nn.Module):
    """A perceptron from standardized representations to one number, T.

    **Shape**: `(E, B, in_features)` to `(E, B)`.

    Parameters
    ----------
    in_features, n_members : int
        Width of a representation, and E.
    hidden : sequence of int
        Widths of the hidden layers.
    lipschitz : bool
        Divide every weight matrix by a bound of its spectral norm: T then moves no more than its
        input. Otherwise T is kept between -6 and 8.
    scale : float, default=1.0
        What a Lipschitz T is multiplied by: its Lipschitz constant.
    output : {"linear", "sigmoid", "free"}, default="linear"
        "sigmoid" is the paper's Table 4, which bounds T to (0, 1), and so the estimate; "free" is
        an addend of another critic, which bounds the sum.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._critic import Critic
    >>> critic = Critic(in_features=3, hidden=[8], n_members=2, lipschitz=True)
    >>> critic(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        *,
        in_features: int,
        hidden: Sequence[int],
        n_members: int,
        lipschitz: bool,
        scale: float = 1.0,
        output: str = "linear",
    ) -> None:
        super().__init__()
        self.lipschitz, self.scale, self.output = lipschitz, scale, output
        self.layers = nn.ModuleList(
            GroupLinear(n_members=n_members, n_groups=1, in_features=d_in, out_features=d_out)
            for d_in, d_out in pairwise([in_features, *hidden, 1])
        )

    def _linear_layers(self) -> list[GroupLinear]:
        return [layer for layer in self.layers if isinstance(layer, GroupLinear)]

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        for layer in self._linear_layers():
            layer.reset_parameters(generators)

    def silence(self) -> None:
        """Make T zero everywhere, by the last layer alone."""
        nn.init.zeros_(self._linear_layers()[-1].weight)

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return sum(layer.weight.shape[3] for layer in self._linear_layers()[:-1])

    def forward(self, x: Tensor, drop: MaskReader | None = None) -> Tensor:
        """Return T."""
        drop = drop or MaskReader(None)
        layers = self._linear_layers()
        for position, layer in enumerate(layers):
            weight, bias = layer.weight.squeeze(1), layer.bias.squeeze(1)
            if self.lipschitz:
                weight = weight / spectral_bound(weight)
            x = torch.baddbmm(bias, x, weight)
            if position < len(layers) - 1:
                x = drop(max_min(x) if self.lipschitz else F.gelu(x))
        t = x.squeeze(-1)
        if self.output == "sigmoid":
            return torch.sigmoid(t)
        if self.lipschitz:
            return self.scale * t
        return t if self.output == "free" else bounded(t)
