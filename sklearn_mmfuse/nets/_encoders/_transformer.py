"""Self-attention over the time steps of a sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_mmfuse.nets._encoders._attention import AttentionLayers, sine_positions
from sklearn_mmfuse.nets._encoders._base import EncoderSpec, WeightedEncoder, split_padding

__all__ = ["TransformerEncoder"]


class TransformerEncoder(WeightedEncoder):
    """Layers of self-attention, normalized before each of their halves; steps are averaged.

    **Shape**: `(E * R, B, T, d)` to `(E * R, B, width)`.

    Parameters
    ----------
    spec : EncoderSpec
        Options `n_layers` and `n_heads`, which divides the width.
    n_members, n_copies : int
        E and R.
    activation : str
        Of the perceptron in each layer, which is twice as wide.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, TransformerEncoder
    >>> spec = EncoderSpec("transformer", shape=(None, 3), width=8)
    >>> transformer = TransformerEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> transformer(torch.zeros(2, 5, 10, 3)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        options, width = dict(spec.options), spec.width
        super().__init__(
            n_members=n_members,
            n_copies=n_copies,
            weights={"input": (int(spec.shape[-1] or 0), width)},
            biases={"input": (1, width)},
        )
        self.layers = AttentionLayers(
            n_members=n_members,
            n_copies=n_copies,
            width=width,
            n_layers=int(options.get("n_layers", 2)),
            n_heads=int(options.get("n_heads", math.gcd(4, width))),
            activation=activation,
        )

    def reset_copy(self, copy: int, generators: Sequence[torch.Generator]) -> None:
        """Draw the weights of one copy."""
        super().reset_copy(copy, generators)
        self.layers.reset_copy(copy, generators)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the steps that are not padding."""
        x, valid = split_padding(x)
        hidden = torch.baddbmm(self.bias("input"), x.flatten(1, 2), self.weight("input"))
        hidden = hidden.unflatten(1, x.shape[1:3])
        hidden = hidden + sine_positions(hidden.shape[2], hidden)
        steps = self.layers(hidden, attended=valid) * valid.unsqueeze(-1)
        return steps.sum(dim=2) / valid.sum(dim=2).clamp_min(1).unsqueeze(-1)
