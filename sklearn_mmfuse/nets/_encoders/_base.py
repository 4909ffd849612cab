"""What turns a sequence or an image into a feature vector, in many copies at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sklearn_mmfuse.nets._layers import uniform_fan_in_

__all__ = ["CopiedWeights", "Encoder", "EncoderSpec", "WeightedEncoder", "split_padding"]

SampleShape = tuple[int | None, ...]


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder reads a modality; modalities of equal specification share one bank of copies.

    Parameters
    ----------
    kind : str or callable
        A name, or a user's factory of modules; "mlp" and "identity" leave vectors as they are.
    shape : tuple
        Of one sample: `(None, d)` of a sequence, `(C, H, W)` of an image, `(d,)` of a vector.
    width : int
        How many features the encoder returns.
    options : tuple of pairs
        Further settings, sorted by name.
    embedding : (int, float), optional
        Waves beside every feature of a vector, and the scale of their frequencies; `width` counts
        them.
    gain : float, default=1.0
        By what is read of a vector is multiplied, and first weights divided: the same function,
        whose weights take smaller steps.
    """

    kind: str | Callable[[], nn.Module]
    shape: SampleShape
    width: int
    options: tuple[tuple[str, Any], ...] = field(default=())
    embedding: tuple[int, float] | None = None
    gain: float = 1.0

    @property
    def is_bank(self) -> bool:
        """Whether there is a module that encodes; vectors are read as they are."""
        return self.kind not in ("mlp", "identity")

    @property
    def is_joint(self) -> bool:
        """Whether it reads the modalities of a subset together."""
        return self.kind == "mult"

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of what a sample is standardized by: one number per feature or channel."""
        if len(self.shape) == 3:
            return (int(self.shape[0] or 0), 1, 1)
        return (*[1] * (len(self.shape) - 1), int(self.shape[-1] or 0))


class Encoder(nn.Module, ABC):
    """E x R copies of one architecture, each with parameters and rows of its own.

    **Shape**: `(E * R, B, *sample)` to `(E * R, B, width)`; time steps that are NaN are padding.
    """

    at_once: ClassVar[bool] = True  # all steps or pixels are in one product, and not one by one

    @abstractmethod
    def reset_copy(self, copy: int, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters for one of the R copies; member e draws from `generators[e]`."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return a vector per row."""


class CopiedWeights(nn.Module):
    """Plain weights and biases, one stack of them for all copies.

    Parameters
    ----------
    n_members, n_copies : int
        E and R.
    weights : mapping of str to tuple of int
        The shape of each weight of one copy; its first axis is what a unit reads.
    biases : mapping of str to tuple of int
        The shape of each bias of one copy; they start at zero, and those named "gain..." at one.
    """

    def __init__(
        self,
        *,
        n_members: int,
        n_copies: int,
        weights: Mapping[str, tuple[int, ...]],
        biases: Mapping[str, tuple[int, ...]],
    ) -> None:
        super().__init__()
        lead = (n_members, n_copies)
        self.weights = nn.ParameterDict(
            {key: nn.Parameter(torch.zeros(*lead, *shape)) for key, shape in weights.items()}
        )
        self.biases = nn.ParameterDict(
            {key: nn.Parameter(torch.zeros(*lead, *shape)) for key, shape in biases.items()}
        )

    def reset_copy(self, copy: int, generators: Sequence[torch.Generator]) -> None:
        """Draw the weights of one copy within 1 / sqrt(inputs)."""
        for weight in self.weights.values():
            drawn = weight.data[:, copy]
            uniform_fan_in_(drawn, drawn.shape[1], generators)
        for key, bias in self.biases.items():
            nn.init.constant_(bias.data[:, copy], 1.0 if key.startswith("gain") else 0.0)

    def load_copy(self, other: CopiedWeights, copy: int) -> None:
        """Take the parameters of one copy of another bank for the only copy of this one."""
        for ours, theirs in zip(self.parameters(), other.parameters(), strict=True):
            ours.data.copy_(theirs.data[:, copy : copy + 1])

    def weight(self, key: str) -> Tensor:
        """Return a weight of all copies, `(E * R, ...)`."""
        return self.weights[key].flatten(0, 1)

    def bias(self, key: str) -> Tensor:
        """Return a bias of all copies, `(E * R, ...)`."""
        return self.biases[key].flatten(0, 1)


class WeightedEncoder(CopiedWeights, Encoder):
    """An encoder made of plain weights."""


def split_padding(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return sequences `(N, B, T, d)` with zeros for padding, and which steps are none.

    A step is padding as a whole or not at all, so its first feature tells.
    """
    return x.nan_to_num(nan=0.0), ~x[..., 0].isnan()
