"""What training minimizes, written once for all methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

from torch import Tensor, nn

from sklearn_mmfuse.losses._base_losses import BaseLoss
from sklearn_mmfuse.nets import FusionNet, FusionOutput

__all__ = ["Objective", "Penalty"]


class Penalty(ABC):
    """What a method adds to the loss: `(output, weight)` to one number per member, `(E,)`.

    Parameters
    ----------
    reg_lambda : float or Tensor of shape (E,)
        Its weight, which may differ between members.
    key : hashable
        Penalties of equal key differ by their weight alone.
    """

    def __init__(self, reg_lambda: float | Tensor, key: Hashable) -> None:
        self.reg_lambda = reg_lambda
        self.key = key

    @abstractmethod
    def __call__(self, output: FusionOutput, weight: Tensor) -> Tensor:
        """Return the weighted penalty of every member; `weight` is that of rows."""


class Objective(nn.Module):
    """Weighted base loss over the stages, plus penalties, plus the net's regularizer.

    Parameters
    ----------
    loss : BaseLoss
        The per-sample loss.
    penalties : sequence of Penalty
        What is added to it.
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

        `target` and `weight` are `(B,)`, or `(E, B)` where members have rows of their own. Weights
        average to 1 over the training rows, so dividing by B and not by the batch's own sum keeps
        the expectation right; `offset` `(E, B, C)` is what nets trained earlier predict;
        `penalized`, the output and weights of other rows, of which the penalties are computed
        instead.
        """
        total = self.data_loss(output.stages, target, weight, offset).sum(dim=0)
        for penalty in self.penalties:
            total = total + penalty(*(penalized or (output, weight)))
        regularizer = net.regularizer()
        return total if regularizer is None else total + regularizer

    def data_loss(
        self,
        raw: Tensor,
        target: Tensor,
        weight: Tensor,
        offset: Tensor | None = None,
        doubt: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted mean loss of raw predictions `(..., E, B, C)`, `(..., E)`.

        With `doubt`, `(E, 1)`, that share of rows may be of any class.
        """
        if offset is not None:
            raw = raw + offset
        share = weight / weight.shape[-1]
        loss = (
            self.loss.per_sample(raw, target)
            if doubt is None
            else self.loss.doubted(raw, target, doubt)
        )
        return loss @ share if share.dim() == 1 else (loss * share).sum(dim=-1)
