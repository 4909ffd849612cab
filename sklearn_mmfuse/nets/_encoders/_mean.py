"""The mean over the time steps of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_mmfuse.nets._encoders._base import Encoder, EncoderSpec, split_padding

__all__ = ["MeanEncoder"]


class MeanEncoder(Encoder):
    """What is left of a sequence when its order does not matter; there is nothing to learn.

    **Shape**: `(E * R, B, T, d)` to `(E * R, B, d)`.

    Parameters
    ----------
    spec : EncoderSpec
        Of width d.
    n_members, n_copies : int
        E and R.
    activation : str
        Unused.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, MeanEncoder
    >>> spec = EncoderSpec("mean", shape=(None, 1), width=1)
    >>> mean = MeanEncoder(spec, n_members=1, n_copies=1, activation="relu")
    >>> mean(torch.tensor([[[[1.0], [3.0], [torch.nan]]]]))
    tensor([[[2.]]])
    """

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        super().__init__()

    def reset_copy(self, copy: int, generators: Sequence[torch.Generator]) -> None:
        """Draw nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the steps that are not padding; zero where there are none."""
        x, valid = split_padding(x)
        return x.sum(dim=2) / valid.sum(dim=2).clamp_min(1).unsqueeze(-1)
