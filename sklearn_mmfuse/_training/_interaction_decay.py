"""Interactions that decay more than modalities alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_mmfuse._training._sending import hand_over

__all__ = ["decay_interactions"]


@torch.no_grad()
def decay_interactions(
    weights: Sequence[Tensor], factors: Sequence[float], decays: Sequence[float]
) -> None:
    """Shrink weights by what is left of a step's decay, times a factor, after AdamW's own.

    Parameters
    ----------
    weights : sequence of Tensor
        At least one; views `(E, ...)` into parameters.
    factors : sequence of float
        How many times as much the weights of each member decay.
    decays : sequence of float
        Step size times weight decay of each member in this step.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._training._interaction_decay import decay_interactions
    >>> weight = torch.ones(2, 3)
    >>> decay_interactions([weight], factors=[1.0, 5.0], decays=[0.1, 0.1])
    >>> weight[:, 0]
    tensor([1.0000, 0.6000])
    """
    kept = [max(0.0, 1.0 - (m - 1.0) * d) for m, d in zip(factors, decays, strict=True)]
    if len(set(kept)) == 1:  # a number reaches a GPU without waiting for it
        torch._foreach_mul_(list(weights), kept[0])
        return
    share = hand_over(torch.tensor(kept, dtype=weights[0].dtype), weights[0].device)
    for weight in weights:
        weight.mul_(share.view(-1, *[1] * (weight.dim() - 1)))
