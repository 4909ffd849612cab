"""start_products(): low-rank products start at what the training rows tell of them.

A product whose factors are drawn at random starts next to a saddle of the loss. With few rows of
many features training ends before it has left it, or perceptrons have learned the rows by heart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sklearn_mmfuse._training._product_search import Product, find_product
from sklearn_mmfuse._training._rows import Rows
from sklearn_mmfuse.losses import BaseLoss
from sklearn_mmfuse.nets import FusionNet
from sklearn_mmfuse.nets._low_rank_products import LowRankProducts

__all__ = ["ProductStart", "find_products", "start_products"]

MAX_ROWS = 5000  # of more, some are looked at
MAX_MOMENTS = 2**15  # of one product; what would have more starts at random
REFIT_STEPS = 30
PENALTY, PENALTY_PER_SHARE = 0.05, 0.5  # times curvature; the latter by features per row

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ProductStart:
    """Where product `rank` of a group of modalities, which is given by number, starts."""

    group: int
    rank: int
    product: Product


def start_products(net: FusionNet, starts: Sequence[Sequence[ProductStart]]) -> None:
    """Put the products of each part of a net, of one member, where they start."""
    for part, own in zip(net.training_parts(), starts, strict=True):
        for start in own:
            assert part.low_rank_products is not None
            product = start.product
            part.low_rank_products.start_at(
                start.group, start.rank, product.directions, product.outputs
            )


@torch.no_grad()
def find_products(net: FusionNet, rows: Rows, loss: BaseLoss) -> list[list[ProductStart]]:
    """Return where products of each part of a net start; others stay as they were drawn.

    Parameters
    ----------
    net : FusionNet
        Of one member, input statistics and bias set.
    rows : Rows
        To train on; on the CPU, as the net is.
    loss : BaseLoss
        What training minimizes.
    """
    parts = net.training_parts()
    if all(part.low_rank_products is None for part in parts):
        return [[] for _ in parts]
    if len(rows) > MAX_ROWS:
        rows = rows.take(torch.linspace(0, len(rows) - 1, MAX_ROWS).long())
    bias = parts[0].bias[0].double()  # the start of the first part, and with it of the whole
    target = _Target(rows.y.double(), rows.weight.double(), loss.smoothed(), bias)
    return [
        [] if part.low_rank_products is None else _find(part.low_rank_products, part, rows, target)
        for part in parts
    ]


@dataclass(frozen=True)
class _Target:
    """What is to be predicted by how many rows, from a constant raw prediction on, `(C,)`."""

    y: Tensor
    weight: Tensor
    loss: BaseLoss
    bias: Tensor

    @property
    def curvature(self) -> Tensor:
        """The second derivative of the loss of each row, at most."""
        return self.loss.curvature * self.weight

    def total(self, raw: Tensor) -> Tensor:
        """Return the loss of all rows at raw predictions `(n, C)`."""
        return (self.loss.per_sample(raw.unsqueeze(0), self.y)[0] * self.weight).sum()

    def slope_beside(self, x: Tensor) -> Tensor:
        """Return how fast losses fall with raw predictions, `(n, C)`, but for what is linear.

        That is what a ridge regression on `x`, `(n, d)`, tells of it.
        """
        with torch.enable_grad():
            raw = self.bias.repeat(len(self.y), 1).requires_grad_()
            (uphill,) = torch.autograd.grad(self.total(raw), raw)
        moments = x.T @ (self.weight.unsqueeze(1) * x)
        moments.diagonal().add_(x.shape[1])
        linear = x @ torch.linalg.solve(moments, x.T @ uphill)
        return self.weight.unsqueeze(1) * linear - uphill


def _find(
    products: LowRankProducts, part: FusionNet, rows: Rows, target: _Target
) -> list[ProductStart]:
    features, sizes = _features(products.widths, part, rows)
    side_by_side = torch.cat(list(features.values()), dim=1)
    rest = target.slope_beside(side_by_side)
    places, found, read = [], [], []
    for g, group in enumerate(products.groups):
        own = [features[name] for name in group]
        if rest.shape[1] * math.prod(x.shape[1] for x in own) > MAX_MOMENTS:
            continue
        for rank in range(products.rank):
            product = find_product(own, rest, target.curvature)
            if product is None:
                break
            rest = rest - target.curvature.unsqueeze(1) * product(own)
            places.append((g, rank))
            found.append(product)
            read.append(own)
    if found:
        found = _refit(found, read, side_by_side, target)
    return [
        ProductStart(g, rank, product.of_scaled([sizes[name] for name in products.groups[g]]))
        for (g, rank), product in zip(places, found, strict=True)
    ]


def _features(
    widths: Mapping[str, int], part: FusionNet, rows: Rows
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what products read, `(n, d)`, of mean square 1, and what it was divided by.

    Zero where a row lacks it.
    """
    X = part.scale_inputs(replace(rows, blocks={name: rows.blocks[name] for name in widths}).X)
    there = {} if rows.present is None else dict(zip(part.in_features, rows.present.T, strict=True))
    features, sizes = {}, {}
    for name, width in widths.items():
        x = X[name].reshape(len(rows), -1)[:, :width].double()
        if name in there:
            x = x * there[name].unsqueeze(1)
        size = x.square().mean(dim=0).sqrt()
        sizes[name] = torch.where(size > 0, size, 1.0)
        features[name] = x / sizes[name]
    return features, sizes


def _refit(
    products: Sequence[Product],
    features: Sequence[Sequence[Tensor]],
    x: Tensor,
    target: _Target,
) -> list[Product]:
    """Return products fitted together, with linear effects of `x` and a quadratic penalty."""
    bias, weights = target.bias.clone(), x.new_zeros(x.shape[1], len(target.bias))
    products = [product.balanced() for product in products]
    penalized = [weights, *(part.clone() for product in products for part in product.parts)]
    parameters = [tensor.requires_grad_() for tensor in (bias, *penalized)]
    penalty = target.loss.curvature * (PENALTY + PENALTY_PER_SHARE * x.shape[1] / len(x)) / 2

    def fitted() -> Iterator[Product]:
        left = iter(penalized[1:])
        for own in features:
            directions = tuple(next(left) for _ in own)
            yield Product(directions, next(left))

    def loss(values: FloatArray) -> tuple[float, FloatArray]:
        vector_to_parameters(torch.from_numpy(values), parameters)
        with torch.enable_grad():
            raw = bias + x @ weights
            raw = reduce(torch.add, map(Product.__call__, fitted(), features), raw)
            size = torch.stack([tensor.square().sum() for tensor in penalized]).sum()
            total = target.total(raw) / len(x) + penalty * size
            gradient = torch.autograd.grad(total, parameters)
        return float(total), parameters_to_vector(gradient).numpy()

    start = parameters_to_vector(parameters).detach().numpy()
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": REFIT_STEPS})
    vector_to_parameters(torch.from_numpy(result.x), parameters)
    return [
        Product(tuple(u.detach() for u in product.directions), product.outputs.detach())
        .normalized(own)
        for product, own in zip(fitted(), features, strict=True)
    ]  # fmt: skip
