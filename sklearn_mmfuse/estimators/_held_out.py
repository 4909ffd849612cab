"""What a model is worth: its predictions for rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from sklearn_mmfuse._training import Rows, predict_network
from sklearn_mmfuse.estimators._fitting import FitPlan, Fold
from sklearn_mmfuse.losses import BaseLoss
from sklearn_mmfuse.nets import FusionNet

__all__ = ["HeldOut", "Predictions", "held_out", "predict_held_out", "why_chance"]

CHANCE_Z = 1.645  # one-sided, 5 %
MIN_GAIN = 1e-6  # of the loss of a constant
MAX_ROWS = 500  # of training, of which more would only say what they were taught


@dataclass(frozen=True)
class HeldOut:
    """Some rows, the net that was not trained on them, and the fold that left them out, if any."""

    name: str
    rows: Rows
    net: FusionNet
    fold: Fold | None
    groups: NDArray[Any] | None


def held_out(plan: FitPlan) -> Iterator[HeldOut]:
    """Yield the validation rows of a trained plan, or those of every fold."""
    if plan.validation is not None:
        yield HeldOut("validation rows", plan.validation, plan.net, None, plan.groups[1])
        return
    for fold, own in zip(plan.folds, plan.fold_nets, strict=False):
        left_out = fold.validation.take(torch.nonzero(fold.validation.weight).squeeze(1))
        assert left_out.picked is not None
        groups = plan.data.groups_of(left_out.picked.numpy())
        yield HeldOut("rows that folds left out", left_out, own, fold, groups)


@dataclass(frozen=True)
class Predictions:
    """Raw predictions `(n, C)`, the constant in them, and what is true of these rows."""

    name: str
    raw: torch.Tensor
    bias: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    groups: NDArray[Any] | None

    @classmethod
    def of(
        cls,
        rows: Rows,
        net: FusionNet,
        bias: torch.Tensor,
        groups: NDArray[Any] | None = None,
        name: str = "training rows",
    ) -> Self:
        """Return those of a net, whose constant is `bias` `(C,)`, in float64."""
        values, constant = predict_network(net, rows.inputs_in_place, rows.present)
        raw = torch.from_numpy(values.sum(axis=2) + constant[:, np.newaxis]).mean(dim=0)
        return cls(name, raw, bias.expand_as(raw), rows.y.double(), rows.weight.double(), groups)

    @classmethod
    def of_all(cls, pieces: Sequence[Self]) -> Self:
        """Return those of several nets."""
        raw, bias, target, weight = (
            torch.cat([getattr(piece, name) for piece in pieces])
            for name in ("raw", "bias", "target", "weight")
        )
        groups = [piece.groups for piece in pieces if piece.groups is not None]
        together = np.concatenate(groups) if groups else None
        return cls(pieces[0].name, raw, bias, target, weight, together)

    @property
    def share(self) -> torch.Tensor:
        """What each row is of the total weight."""
        return self.weight / self.weight.sum()

    def times(self, factor: float) -> torch.Tensor:
        """Return raw predictions whose distance from the constant is multiplied."""
        return self.bias + factor * (self.raw - self.bias)


def predict_held_out(plan: FitPlan) -> Predictions | None:
    """Return predictions for rows held out; without any, for few training rows, or None."""
    constant = torch.as_tensor(plan.constant)
    pieces = [
        Predictions.of(
            own.rows, own.net, constant if own.fold is None else own.fold.bias, own.groups, own.name
        )
        for own in held_out(plan)
    ]
    if pieces:
        return Predictions.of_all(pieces)
    if len(plan.train) >= MAX_ROWS:
        return None
    return Predictions.of(plan.train, plan.net, constant, plan.groups[0])


def why_chance(told: Predictions, loss: BaseLoss, train: Rows, factor: float = 1.0) -> str | None:
    """Return why explanations mean nothing, or None, as predictions (times a factor) tell."""
    constant = loss.intercept(train.y.numpy(), train.weight.numpy(), told.raw.shape[1])
    own, chance = (
        loss.per_sample(prediction, told.target).numpy()
        for prediction in (told.times(factor), torch.as_tensor(constant).expand_as(told.raw))
    )
    share, groups = told.share.numpy(), told.groups
    gain = float(share @ (chance - own))
    excess = share * (chance - own - gain)
    if groups is not None:  # rows of one person are no independent evidence
        excess = np.bincount(np.unique(groups, return_inverse=True)[1], weights=excess)
    error = float(np.sqrt((excess**2).sum()))
    if gain > CHANCE_Z * error and gain > MIN_GAIN * abs(float(share @ chance)):
        return None
    return (
        f"On the {len(share)} {told.name} the model is not reliably better than a constant: "
        f"its loss is {share @ own:.3g}, that of a constant {share @ chance:.3g}, and the "
        f"difference is uncertain by {CHANCE_Z * error:.2g}. Relevance scores of a model that "
        "has learned nothing look as definite as any; train it better, or on more rows, first."
    )
