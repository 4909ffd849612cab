"""Sequences that are read together, one step of each at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_mmfuse.nets._fusions._base import Brought, JointFusion
from sklearn_mmfuse.nets._layers import MaskReader

__all__ = ["AlignedFusion", "align", "word_steps"]


def align(brought: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Return sequences of equal length, zeros where there are none, and which steps there are.

    A step is there if a modality has it: where another lacks it (a row was made of modalities of
    different rows, or has not this one), it is at its mean, zero.

    **Shape**: `{name: (1 or E, B, T, d)}`, NaN where padded, to the same with one T for all and
    `(1 or E, B, T)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions._aligned import align
    >>> nan = torch.nan
    >>> steps, valid = align({"a": torch.tensor([[[[1.0], [nan]]]]), "v": torch.zeros(1, 1, 1, 2)})
    >>> steps["a"].flatten(), steps["v"].shape, valid
    (tensor([1., 0.]), torch.Size([1, 1, 2, 2]), tensor([[[ True, False]]]))
    """
    n_steps = max(x.shape[2] for x in brought.values())
    steps = {
        name: F.pad(x, (0, 0, 0, n_steps - x.shape[2]), value=torch.nan)
        for name, x in brought.items()
    }
    valid = torch.stack([~x[..., 0].isnan() for x in steps.values()]).any(dim=0)
    return {name: x.nan_to_num(nan=0.0) for name, x in steps.items()}, valid


def word_steps(language: Tensor, valid: Tensor) -> Tensor:
    """Return which of the steps that there are have a word, `(1 or E, B, T)`."""
    said = ~language[..., 0].isnan()
    return F.pad(said, (0, valid.shape[-1] - said.shape[-1]))


class AlignedFusion(JointFusion):
    """A fusion at every time step of sequences about the same moments."""

    aligned = True

    def bring(self, x: Brought, drop: MaskReader | None = None) -> dict[str, Tensor]:
        """Return the sequences as they are: nothing of one of them can be told beforehand."""
        return {n: x[n] if x[n].dim() == 4 else x[n].unsqueeze(0) for n in self.names}

    def step_operations(self) -> int:
        """Return about how many multiplications a step of a row takes."""
        # Thrice, for what is done element by element.
        return 3 * sum(weight[0].numel() for weight in self.parameters())

    def operations(self, brought: Brought) -> int:
        """Return about how many multiplications a row takes."""
        return max(x.shape[2] for x in brought.values()) * self.step_operations()
