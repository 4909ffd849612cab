"""The last layer of a net, fitted to the end on features that stay: a convex problem.

Stochastic steps never make a block of weights exactly zero; proximal gradient steps on all rows do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_mmfuse._training._threads import few_threads
from sklearn_mmfuse.losses import BaseLoss, shrink_blocks

__all__ = ["BlockFeatures", "FusionLayer", "fit_fusion_layer"]

POWER_STEPS = 30
SAFETY = 1.05
NOTHING = 0.1  # a contribution that is small, in standard deviations or log-odds
MAX_ROTATED = 1024  # whose eigenvectors take longer than they save
MIN_VARIANCE = 1e-7  # of a block's norm; a direction with less is left out, unless it is the last


@dataclass(frozen=True)
class FusionLayer:
    """R linear layers side by side: weights `(R, F, C)`, biases `(R, C)`, and if they are final."""

    weights: Tensor
    bias: Tensor
    converged: bool = True


@dataclass(frozen=True)
class BlockFeatures:
    """Blocks of features, centered and rotated; directions that never vary are dropped.

    Neither changes the problem: a mean is the bias's to add, and a block's weights keep their norm.

    Parameters
    ----------
    values : Tensor
        `(n, F)`.
    sizes : tuple of int
        How many columns each block has left.
    rotations : tuple of Tensor
        For each block, the matrix `(all, left)` from weights of directions to those of features.
    mean : Tensor
        Of the features, `(all,)`.
    """

    values: Tensor
    sizes: tuple[int, ...]
    rotations: tuple[Tensor, ...]
    mean: Tensor

    @classmethod
    def rotate(cls, features: Tensor, sizes: Sequence[int], weight: Tensor) -> BlockFeatures:
        """Rotate features `(n, F)` of rows with these weights `(n,)`."""
        blocks, rotations = [], []
        share = (weight / weight.sum()).unsqueeze(1)
        mean = (share * features).sum(dim=0)
        for block in (features - mean).split(list(sizes), dim=1):
            if block.shape[1] > MAX_ROTATED:
                kept = torch.eye(block.shape[1]).to(block)
            else:
                variance, directions = torch.linalg.eigh(block.T @ (share * block))
                kept = directions[:, variance >= min(MIN_VARIANCE, float(variance[-1]))]
            blocks.append(block @ kept)
            rotations.append(kept)
        left = tuple(block.shape[1] for block in blocks)
        return cls(torch.cat(blocks, dim=1), left, tuple(rotations), mean)

    def take(self, rows: Tensor) -> BlockFeatures:
        """Return some rows."""
        return BlockFeatures(self.values[rows], self.sizes, self.rotations, self.mean)

    def enter(self, layer: FusionLayer) -> FusionLayer:
        """Return a layer on the features as one on these directions."""
        blocks = layer.weights.split([len(rotation) for rotation in self.rotations], dim=1)
        weights = [r.T @ block for r, block in zip(self.rotations, blocks, strict=True)]
        return FusionLayer(torch.cat(weights, dim=1), layer.bias + self._shift(layer.weights))

    def leave(self, layer: FusionLayer) -> FusionLayer:
        """Return a layer on these directions as one on the features."""
        blocks = layer.weights.split(list(self.sizes), dim=1)
        rotated = [r @ block for r, block in zip(self.rotations, blocks, strict=True)]
        weights = torch.cat(rotated, dim=1)
        return FusionLayer(weights, layer.bias - self._shift(weights), layer.converged)

    def _shift(self, weights: Tensor) -> Tensor:
        return torch.einsum("f,rfc->rc", self.mean, weights)

    def norms(self, weights: Tensor) -> Tensor:
        """Return the norm of each block of weights `(R, F, C)`, `(R, T)`."""
        square = weights.square().sum(dim=2)
        return torch.stack([b.sum(dim=1) for b in square.split(list(self.sizes), dim=1)], 1).sqrt()

    def spreads(self, weight: Tensor) -> Tensor:
        """Return the root of each block's mean squared norm over weighted rows, `(R, T)`."""
        share = weight / weight.sum(dim=1, keepdim=True)
        square = share @ self.values.square()
        return torch.stack([b.sum(dim=1) for b in square.split(list(self.sizes), dim=1)], 1).sqrt()

    def per_feature(self, of_blocks: Tensor) -> Tensor:
        """Return numbers of blocks `(R, T)` as numbers of their features `(R, F, 1)`."""
        sizes = torch.tensor(self.sizes)
        return of_blocks.repeat_interleave(sizes, dim=1).unsqueeze(2)


def fit_fusion_layer(
    features: BlockFeatures,
    target: Tensor,
    weight: Tensor,
    loss: BaseLoss,
    start: FusionLayer,
    *,
    reg_lambda: float,
    q: float,
    max_iter: int,
    tol: float = 1e-4,
) -> FusionLayer:
    """Minimize the weighted mean loss plus `reg_lambda * (sum of block norms^q)^(2 / q)`.

    Accelerated proximal gradient steps (FISTA) with restarts, for R sets of row weights at once.

    Parameters
    ----------
    features : BlockFeatures
        Of n rows.
    target : Tensor
        `(n,)`.
    weight : Tensor
        `(R, n)`: what rows count.
    loss : BaseLoss
        Smoothed where it has to be.
    start : FusionLayer
        Where to start, in the directions of `features`.
    reg_lambda, q : float
        Of the penalty.
    max_iter : int
        The most steps.
    tol : float, default=1e-4
        Stop when no feature's contribution moves by more than this, relative to the largest.
    """
    loss, x = loss.smoothed(), features.values
    with few_threads(len(weight) * x.numel() * start.weights.shape[2]):
        share = weight / weight.sum(dim=1, keepdim=True)
        step = 1.0 / (SAFETY * loss.curvature * _largest_eigenvalue(x, share)).clamp_min(1e-12)
        weights, bias = start.weights, start.bias
        spread = x.square().mean(dim=0).sqrt().view(1, -1, 1)
        ahead, ahead_bias, momentum = weights, bias, torch.ones_like(step)
        for _ in range(max_iter):
            gradient = _gradient(loss, x, target, share, ahead, ahead_bias)
            moved = ahead - step.unsqueeze(2) * gradient[0]
            norms = features.norms(moved)
            shrunk = shrink_blocks(norms, reg_lambda * step, q)
            ratio = shrunk / norms.clamp_min(torch.finfo(norms.dtype).tiny)
            new, new_bias = moved * features.per_feature(ratio), ahead_bias - step * gradient[1]
            # Momentum that points uphill is dropped, each set of weights for itself.
            uphill = ((ahead - new) * (new - weights)).sum(dim=(1, 2)) > 0
            momentum = torch.where(uphill.unsqueeze(1), 1.0, momentum)
            next_momentum = (1 + (1 + 4 * momentum.square()).sqrt()) / 2
            factor = (momentum - 1) / next_momentum
            change = (spread * (new - weights)).abs().amax()
            ahead = new + factor.unsqueeze(2) * (new - weights)
            ahead_bias = new_bias + factor * (new_bias - bias)
            weights, bias, momentum = new, new_bias, next_momentum
            if change <= tol * (spread * weights).abs().amax().clamp_min(NOTHING):
                return FusionLayer(weights, bias)
    return FusionLayer(weights, bias, converged=False)


def _largest_eigenvalue(x: Tensor, share: Tensor) -> Tensor:
    """Return the largest eigenvalue of the weighted second moments of `[x, 1]`, `(R, 1)`."""
    vector = torch.ones(len(share), x.shape[1]).to(x)
    value = torch.ones(len(share), 1).to(x)
    for _ in range(POWER_STEPS):
        vector = vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-300)
        vector = (share * (vector @ x.T)) @ x
        value = vector.norm(dim=1, keepdim=True)
    return value + 1.0  # the column of ones may add its own


def _gradient(
    loss: BaseLoss, x: Tensor, target: Tensor, share: Tensor, weights: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    n_sets, n_features, n_outputs = weights.shape
    flat = weights.permute(1, 0, 2).reshape(n_features, -1)
    raw = (x @ flat).view(len(x), n_sets, n_outputs).transpose(0, 1) + bias.unsqueeze(1)
    with torch.enable_grad():
        raw = raw.detach().requires_grad_()
        total = (loss.per_sample(raw, target) * share).sum()
        (slope,) = torch.autograd.grad(total, raw)
    of_weights = (x.T @ slope.transpose(0, 1).reshape(len(x), -1)).view(n_features, n_sets, -1)
    return of_weights.transpose(0, 1), slope.sum(dim=1)
