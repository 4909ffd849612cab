"""What training minimizes, written once for all methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from sklearn_mmfuse.losses._base_losses import BaseLoss
from sklearn_mmfuse.nets import FusionNet, FusionOutput

__all__ = ["Objective", "Penalty"]

Penalty = Callable[[FusionOutput, Tensor], Tensor]


class Objective(nn.Module):
    """Weighted base loss over the stages, plus penalties, plus the net's regularizer.

    Parameters
    ----------
    loss : BaseLoss
        The per-sample loss.
    penalties : sequence of callable
        Each maps `(output, weight)` to one number per member, `(E,)`.
    """

    def __init__(self, loss: BaseLoss, penalties: Sequence[Penalty] = ()) -> None:
        super().__init__()
        self.loss = loss
        self.penalties = tuple(penalties)

    def forward(
        self,
        output: FusionOutput,
        target: Tensor,
        weight: Tensor,
        net: FusionNet,
        offset: Tensor | None = None,
        penalized: tuple[FusionOutput, Tensor] | None = None,
    ) -> Tensor:
        """Return the objective of every member, `(E,)`.

        `weight` `(B,)` averages to 1 over the training rows, so dividing by B and not by the
        batch's own sum keeps the expectation right; `offset` `(E, B, C)` is what nets trained
        earlier predict; `penalized`, the output and weights of other rows, of which the penalties
        are computed instead.
        """
        total = self.data_loss(output.stages, target, weight, offset).sum(dim=0)
        for penalty in self.penalties:
            total = total + penalty(*(penalized or (output, weight)))
        regularizer = net.regularizer()
        return total if regularizer is None else total + regularizer

    def data_loss(
        self, raw: Tensor, target: Tensor, weight: Tensor, offset: Tensor | None = None
    ) -> Tensor:
        """Return the weighted mean loss of raw predictions `(..., E, B, C)`, `(..., E)`."""
        if offset is not None:
            raw = raw + offset
        return self.loss.per_sample(raw, target) @ (weight / len(weight))
