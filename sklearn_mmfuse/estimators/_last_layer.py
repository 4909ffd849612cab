"""The last layer of InTense: fitted to the end, and judged by rows that it has not seen."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from sklearn_mmfuse._training import (
    BlockFeatures,
    FusionLayer,
    Rows,
    fit_fusion_layer,
)
from sklearn_mmfuse.estimators._fitting import FitPlan
from sklearn_mmfuse.estimators._held_out import Predictions, held_out
from sklearn_mmfuse.losses import BaseLoss
from sklearn_mmfuse.nets import InTenseNet

__all__ = [
    "REFIT_STEPS",
    "LastLayer",
    "best_factor",
    "fit_last_layer",
    "predict_by_last_layer",
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

    @property
    def bias(self) -> torch.Tensor:
        """What is predicted where nothing is known, `(C,)`."""
        bias: torch.Tensor = self.layer.bias
        return bias.reshape(-1)

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
    rows, kept = train, np.arange(len(train))
    limit = max(MAX_REFIT_VALUES // sum(net.block_sizes), 2)
    if len(kept) > limit:
        kept = np.sort(rng.permutation(len(kept))[:limit])
        rows = rows.take(torch.from_numpy(kept))
    rows = rows.double()
    features = BlockFeatures.rotate(double.fusion_features(rows)[0], net.block_sizes, rows.weight)
    bias = double.bias + double.free_bias.detach()
    start = features.enter(FusionLayer(double.fusion_weights(), bias))
    refit = partial(fit_fusion_layer, loss=loss, reg_lambda=float(net.reg_lambda), q=float(net.q))
    layer = refit(features, rows.y, rows.weight.unsqueeze(0), start=start, max_iter=REFIT_STEPS)
    return LastLayer(features, rows, kept, refit, layer)


def predict_by_last_layer(plan: FitPlan, fusion: LastLayer) -> Predictions | None:
    """Return predictions for rows held out, of folds by last layers that are fitted as well."""
    pieces = []
    for own in held_out(plan):
        net, fitted = own.net, fusion
        assert isinstance(net, InTenseNet)
        if own.fold is not None:
            fitted = fit_last_layer(net, own.fold.train, plan.loss, plan.rng)
            fitted.enter(net)
        pieces.append(Predictions.of(own.rows, net, fitted.bias, own.groups, own.name))
    return Predictions.of_all(pieces) if pieces else None


def best_factor(loss: BaseLoss, told: Predictions, *, may_shrink: bool = False) -> float:
    """Return what to multiply contributions with, at least 1, for the least mean loss.

    The penalty shrinks what is known as well. One factor for all terms leaves their scores. One
    that `may_shrink` may also be below 1, where there was next to nothing to learn. A row more than
    there are may be of any class: no number of rows makes a net infinitely sure.
    """
    doubt = 1.0 / (len(told.raw) + 1)

    def mean_loss(log_factor: float) -> float:
        raw = told.times(math.exp(log_factor))
        return float(told.share @ loss.doubted(raw, told.target, doubt))

    bounds = (-math.log(MAX_FACTOR) if may_shrink else 0.0, math.log(MAX_FACTOR))
    best = minimize_scalar(mean_loss, bounds=bounds, method="bounded")
    return math.exp(best.x) if best.fun < mean_loss(0.0) else 1.0
