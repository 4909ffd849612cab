"""Numerical embeddings: a few waves of every feature, so that one layer can bend."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_mmfuse.nets._layers import side_streams

__all__ = ["PeriodicEmbedding"]


class PeriodicEmbedding(nn.Module):
    """Features, and beside them K waves of each: `x` and `cos(2 pi (c x + b))`.

    The periodic part of the "PLR" embeddings of Gorishniy et al. (2022); the perceptrons that read
    it are its linear and relu part.

    NOTE[DIFF]: frequencies `c ~ N(0, scale)` and phases `b ~ U(0, 1)` are drawn, not trained. All
    terms read the same waves, and trained ones would let the loss of an interaction move the terms
    below it.

    **Shape**: `(B, d)` or `(E, B, d)` to `(E, B, d * (1 + K))`.

    Parameters
    ----------
    n_members, n_features, n_frequencies : int
        E, d and K.
    scale : float
        Standard deviation of the frequencies, in waves per unit.
    gain : float, default=1.0
        By what everything is multiplied in the end.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._numerical_embedding import PeriodicEmbedding
    >>> embed = PeriodicEmbedding(n_members=2, n_features=3, n_frequencies=4, scale=0.1)
    >>> embed(torch.zeros(10, 3)).shape
    torch.Size([2, 10, 15])
    """

    frequency: Tensor
    phase: Tensor
    varies: Tensor

    def __init__(
        self,
        *,
        n_members: int,
        n_features: int,
        n_frequencies: int,
        scale: float,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale, self.gain = scale, gain
        shape = (n_members, 1, n_features, n_frequencies)
        self.register_buffer("frequency", torch.zeros(shape))
        self.register_buffer("phase", torch.zeros(shape))
        self.register_buffer("varies", torch.ones(n_members, 1, n_features, 1))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[torch.Generator], stream: int = 0) -> None:
        """Draw the waves of member e, which depend on the seed of `generators[e]` and a number.

        The generators are left as they are.
        """
        for e, own in enumerate(side_streams(generators, stream)):
            shape = self.frequency.shape[1:]
            frequency = torch.randn(shape, generator=own, dtype=torch.float64)
            self.frequency[e] = frequency * self.scale
            self.phase[e] = torch.rand(shape, generator=own, dtype=torch.float64)

    @torch.no_grad()
    def flatten_constant(self, std: Tensor) -> None:
        """Leave out the waves of features without spread, `(d,)`: they would be a constant."""
        self.varies.copy_((std > 0).to(self.varies).view(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features and waves side by side."""
        x = x.expand(len(self.frequency), *x.shape[-2:])
        wave = torch.addcmul(self.phase, x.unsqueeze(-1), self.frequency)
        wave = torch.cos(wave.mul_(2.0 * math.pi)).mul_(self.varies)
        return torch.cat([x, wave.flatten(2)], dim=2).mul_(self.gain)
