"""Per-sample losses; each has a link, knows its constant fit, and nothing else."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "AbsoluteError",
    "BaseLoss",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "MultilabelCrossEntropy",
    "SquaredError",
]

FloatArray = NDArray[np.floating]


class BaseLoss(Protocol):
    """A loss of raw predictions `(..., B, C)` against targets `(B,)`, or `(B, C)` of labels."""

    link: ClassVar[str]
    curvature: ClassVar[float]  # no second derivative is larger

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        ...

    def doubted(self, raw: Tensor, target: Tensor, doubt: Tensor | float) -> Tensor:
        """Return the loss of every row, were a share of them, `doubt`, of any class.

        It bounds log-odds where all rows are told right (after Platt, 1999). A number `(E, 1)` for
        each member, or one for all; numbers as targets have no doubt.
        """
        ...

    def smoothed(self) -> BaseLoss:
        """Return a loss with bounded curvature: this one, or one close to it."""
        ...

    def intercept(
        self, target: NDArray[np.generic], weight: FloatArray, n_outputs: int
    ) -> FloatArray:
        """Return the constant raw prediction `(C,)` that fits weighted targets best."""
        ...


class _Smooth:
    def smoothed(self) -> BaseLoss:
        """Return this loss."""
        loss: BaseLoss = self  # type: ignore[assignment]
        return loss


class _RegressionLoss(_Smooth):
    link: ClassVar[str] = "identity"

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        raise NotImplementedError

    def doubted(self, raw: Tensor, target: Tensor, doubt: Tensor | float) -> Tensor:
        """Return the loss of every row."""
        return self.per_sample(raw, target)

    def intercept(
        self, target: NDArray[np.generic], weight: FloatArray, n_outputs: int
    ) -> FloatArray:
        """Return zero: targets come standardized."""
        return np.zeros(n_outputs)


class SquaredError(_RegressionLoss):
    """`(raw - target)^2`."""

    curvature: ClassVar[float] = 2.0

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        return (raw.squeeze(-1) - target).square()


class AbsoluteError(_RegressionLoss):
    """`|raw - target|`, the paper's regression loss."""

    curvature: ClassVar[float] = float("inf")

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        return (raw.squeeze(-1) - target).abs()

    def smoothed(self) -> BaseLoss:
        """Return the loss that is quadratic near zero."""
        return _HuberLoss()


class _HuberLoss(_RegressionLoss):
    """The absolute error, quadratic within a tenth of a standard deviation."""

    delta = 0.1
    curvature: ClassVar[float] = 1.0 / delta

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        error = raw.squeeze(-1) - target
        return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta) / (
            self.delta
        )


class BinaryCrossEntropy(_Smooth):
    """Cross-entropy of one logit against targets 0 and 1."""

    link: ClassVar[str] = "logit"
    curvature: ClassVar[float] = 0.25

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        raw = raw.squeeze(-1)
        return F.softplus(raw) - target * raw

    def doubted(self, raw: Tensor, target: Tensor, doubt: Tensor | float) -> Tensor:
        """Return the loss of every row, were a share of them, `doubt`, of either class."""
        return self.per_sample(raw, target + doubt * (0.5 - target))

    def intercept(
        self, target: NDArray[np.generic], weight: FloatArray, n_outputs: int
    ) -> FloatArray:
        """Return the logit of the weighted share of ones."""
        share = np.average(target.astype(np.float64), weights=weight)
        return np.full(n_outputs, logit(np.clip(share, 1e-6, 1 - 1e-6)))


class MultilabelCrossEntropy(_Smooth):
    """The mean over labels of the cross-entropy of a logit each against targets 0 and 1."""

    link: ClassVar[str] = "sigmoid"
    curvature: ClassVar[float] = 0.25

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        return (F.softplus(raw) - target * raw).mean(dim=-1)

    def doubted(self, raw: Tensor, target: Tensor, doubt: Tensor | float) -> Tensor:
        """Return the loss of every row, were a share of its labels, `doubt`, anything."""
        own = doubt.unsqueeze(-1) if isinstance(doubt, Tensor) else doubt
        return self.per_sample(raw, target + own * (0.5 - target))

    def intercept(
        self, target: NDArray[np.generic], weight: FloatArray, n_outputs: int
    ) -> FloatArray:
        """Return the logits of the weighted shares of ones."""
        share = np.average(target.astype(np.float64), axis=0, weights=weight)
        return np.asarray(logit(np.clip(share, 1e-6, 1 - 1e-6)))


def _surprise(log_probability: Tensor, target: Tensor) -> Tensor:
    """Return minus the logarithm of the probability `(..., B, C)` of each row's own class."""
    index = target.long().expand(log_probability.shape[:-1]).unsqueeze(-1)
    return -torch.take_along_dim(log_probability, index, dim=-1).squeeze(-1)


class CrossEntropy(_Smooth):
    """Cross-entropy of C logits against class numbers."""

    link: ClassVar[str] = "softmax"
    curvature: ClassVar[float] = 0.5

    def per_sample(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of every row, `(..., B)`."""
        return _surprise(F.log_softmax(raw, dim=-1), target)

    def doubted(self, raw: Tensor, target: Tensor, doubt: Tensor | float) -> Tensor:
        """Return the loss of every row, were a share of them, `doubt`, of any class."""
        log_probability = F.log_softmax(raw, dim=-1)
        own, any_class = _surprise(log_probability, target), -log_probability.mean(dim=-1)
        return own + doubt * (any_class - own)

    def intercept(
        self, target: NDArray[np.generic], weight: FloatArray, n_outputs: int
    ) -> FloatArray:
        """Return the logarithms of the weighted class shares, centered."""
        share = np.bincount(target.astype(np.intp), weights=weight, minlength=n_outputs)
        # A class whose rows all weigh nothing keeps a finite, very unlikely start.
        log_share = np.log(np.maximum(share / weight.sum(), 1e-6))
        return np.asarray(log_share - log_share.mean())
