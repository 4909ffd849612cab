"""The last layer of InTense: fitted to the end, and judged by rows that it has not seen."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from sklearn_mmfuse._training import (
    BlockFeatures,
    FusionLayer,
    Rows,
    fit_fusion_layer,
    predict_network,
)
from sklearn_mmfuse.estimators._fitting import FitPlan
from sklearn_mmfuse.losses import BaseLoss
from sklearn_mmfuse.nets import InTenseNet

__all__ = [
    "REFIT_STEPS",
    "LastLayer",
    "Predictions",
    "best_factor",
    "fit_last_layer",
    "predict_held_out",
]

MAX_REFIT_VALUES = 2**26  # 512 MiB; of more rows some are drawn
REFIT_STEPS = 2000
MAX_FACTOR = 20.0


@dataclass(frozen=True)
class LastLayer:
    """The last layer of a net fitted to the end, and the rows `kept` that it was fitted to."""

    features: BlockFeatures
    rows: Rows
    kept: NDArray[np.intp]
    refit: Callable[..., FusionLayer]
    layer: FusionLayer

    def enter(self, net: InTenseNet, *, times: float = 1.0) -> None:
        """Put the layer into its net, its weights multiplied."""
        layer = self.features.leave(replace(self.layer, weights=self.layer.weights * times))
        net.set_fusion(layer.weights.to(net.bias), layer.bias.to(net.bias))


def fit_last_layer(
    net: InTenseNet, train: Rows, loss: BaseLoss, rng: np.random.RandomState
) -> LastLayer:
    """Return the last layer of a net at the minimum of its penalized loss.

    Parameters
    ----------
    net : InTenseNet
        Trained; not changed.
    train : Rows
        What it was trained on.
    loss : BaseLoss
        As in training.
    rng : RandomState
        Draws rows, where there are too many.
    """
    double = copy.deepcopy(net).double()
    rows, kept = train.double(), np.arange(len(train))
    limit = max(MAX_REFIT_VALUES // sum(net.block_sizes), 2)
    if len(kept) > limit:
        kept = np.sort(rng.permutation(len(kept))[:limit])
        rows = rows.take(torch.from_numpy(kept))
    features = BlockFeatures.rotate(double.fusion_features(rows)[0], net.block_sizes, rows.weight)
    bias = double.bias + double.free_bias.detach()
    start = features.enter(FusionLayer(double.fusion_weights(), bias))
    refit = partial(fit_fusion_layer, loss=loss, reg_lambda=float(net.reg_lambda), q=float(net.q))
    layer = refit(features, rows.y, rows.weight.unsqueeze(0), start=start, max_iter=REFIT_STEPS)
    return LastLayer(features, rows, kept, refit, layer)


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
        net: InTenseNet,
        fusion: LastLayer,
        groups: NDArray[Any] | None = None,
        name: str = "training rows",
    ) -> Self:
        """Return those of a net, whose last layer was fitted, in float64."""
        values, constant = predict_network(net, rows.X, rows.present)
        raw = torch.from_numpy(values.sum(axis=2) + constant[:, np.newaxis])[0]
        bias = fusion.layer.bias.expand_as(raw)
        return cls(name, raw, bias, rows.y.double(), rows.weight.double(), groups)

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


def predict_held_out(plan: FitPlan, fusion: LastLayer) -> Predictions | None:
    """Return predictions for validation rows, or for those that folds left out, by their nets."""
    net = plan.net
    assert isinstance(net, InTenseNet)
    if plan.validation is not None:
        groups = plan.groups[1]
        return Predictions.of(plan.validation, net, fusion, groups, "validation rows")
    pieces = []
    for fold, own in zip(plan.folds, plan.fold_nets, strict=False):
        assert isinstance(own, InTenseNet)
        fitted = fit_last_layer(own, fold.train, plan.loss, plan.rng)
        fitted.enter(own)
        left_out = fold.validation.take(torch.nonzero(fold.validation.weight).squeeze(1))
        assert left_out.picked is not None
        groups = plan.data.groups_of(left_out.picked.numpy())
        pieces.append(Predictions.of(left_out, own, fitted, groups, "rows that folds left out"))
    return Predictions.of_all(pieces) if pieces else None


def best_factor(loss: BaseLoss, told: Predictions, *, may_shrink: bool = False) -> float:
    """Return what to multiply contributions with, at least 1, for the least mean loss.

    The penalty shrinks what is known as well. One factor for all terms leaves their scores. One
    that `may_shrink` may also be below 1, where there was next to nothing to learn.
    """
    contributions = told.raw - told.bias

    def mean_loss(log_factor: float) -> float:
        raw = told.bias + math.exp(log_factor) * contributions
        return float(told.share @ loss.per_sample(raw, told.target))

    bounds = (-math.log(MAX_FACTOR) if may_shrink else 0.0, math.log(MAX_FACTOR))
    best = minimize_scalar(mean_loss, bounds=bounds, method="bounded")
    return math.exp(best.x) if best.fun < mean_loss(0.0) else 1.0
