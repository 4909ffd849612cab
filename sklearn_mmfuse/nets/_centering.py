"""Normalizations of InTense: vector-wise (VBN), and iterative of tensor products (IterBN).

A product of k factors has k axes, numbered 0 to k - 1; an axis is always named by its number, so
that nothing depends on the order in which axes were flattened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor

from sklearn_mmfuse.nets._tensor_product import outer_product

__all__ = ["Products", "centering_constants", "vbn_scale"]

Axes = tuple[int, ...]

# Below this share of its uncentered size a product is noise, which must not be blown up.
PRODUCT_FLOOR = 0.05
FEATURE_FLOOR = 1e-8
SMALLEST = 1e-20  # a mean square below it is zero


def vbn_scale(centered: Tensor, mean: Tensor, weight: Tensor) -> Tensor:
    """Return the inverse root of the mean squared norm of centered features (eq. 7).

    Features that are constant but for rounding are left as they are.

    **Shape**: `(N, B, D)`, what was their mean `(N, 1, D)`, and weights `(N or 1, B)`, adding up
    to 1, to `(N, 1, 1)`.
    """
    variance = (weight * centered.square().sum(dim=2)).sum(dim=1)
    floor = FEATURE_FLOOR * mean.detach().square().sum(dim=(1, 2))
    return _inverse_root(variance, floor).reshape(-1, 1, 1)


def _inverse_root(square: Tensor, floor: Tensor) -> Tensor:
    """Return `1 / sqrt(max(square, floor))`, and 1 where that is zero: there is nothing to scale.

    No row of a batch may have a modality, and no two modalities a row.
    """
    largest = torch.maximum(square, floor)
    return torch.where(largest > SMALLEST, largest.clamp_min(SMALLEST).rsqrt(), 1.0)


def centering_constants(moments: Mapping[Axes, Tensor], n_factors: int) -> dict[Axes, Tensor]:
    """Return what every smaller product is multiplied by in the centered one.

    The recursion `psi_I = f^I - sum_S E[f^S] psi_(I - S)` over the non-empty subsets S of I is
    linear in the products of factors: `psi_I = sum_J f^J c_(I - J)`, where `c_0 = 1` and
    `c_T = -sum_S E[f^S] c_(T - S)` over the non-empty subsets S of T. This is eq. 9 with equal
    terms collected.

    Parameters
    ----------
    moments : mapping of axes to Tensor
        Of :meth:`Products.moments`; those that are left out are zero.
    n_factors : int
        k.

    Returns
    -------
    constants : dict of axes to Tensor
        `c_T`, `(N, D, ..., D)`, without those that are zero, and without `c_0`.
    """
    constants: dict[Axes, Tensor] = {}
    for size in range(1, n_factors + 1):
        for axes in combinations(range(n_factors), size):
            total = None
            for subset, moment in moments.items():
                if not set(subset) <= set(axes):
                    continue
                rest = tuple(axis for axis in axes if axis not in subset)
                if rest and rest not in constants:
                    continue
                part = moment
                if rest:
                    part = _spread(moment, subset, axes) * _spread(constants[rest], rest, axes)
                total = part if total is None else total + part
            if total is not None:
                constants[axes] = -total
    return constants


class Products:
    """N tensor products of k factors each, over B rows; what several results need is kept.

    Parameters
    ----------
    factors : sequence of Tensor
        k of `(N, B, D)`.
    weight : Tensor, optional
        What rows count in expectations, `(N or 1, B)`, adding up to 1.
    keep : bool, default=True
        Keep smaller products for the next result that needs them; costs memory.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._centering import Products, centering_constants
    >>> a, b = torch.randn(2, 1, 50, 3, generator=torch.Generator().manual_seed(0))
    >>> products = Products([a, b], torch.full((1, 50), 1 / 50))
    >>> psi = products.centered(centering_constants(products.moments(), 2))
    >>> psi.shape, bool(psi.mean(dim=1).abs().max() < 1e-6)
    (torch.Size([1, 50, 9]), True)
    """

    def __init__(
        self, factors: Sequence[Tensor], weight: Tensor | None = None, *, keep: bool = True
    ) -> None:
        self.keep = keep
        self.factors = list(factors)
        self.weight = weight
        self.every = tuple(range(len(self.factors)))
        self._outer: dict[Axes, Tensor] = {(i,): factor for i, factor in enumerate(self.factors)}
        self._weighted: dict[int, Tensor] = {}

    @property
    def dim(self) -> int:
        """D, the width of a factor."""
        return self.factors[0].shape[2]

    def outer(self, axes: Axes) -> Tensor:
        """Return the product of some factors, flattened in their order, `(N, B, D ** s)`."""
        if axes in self._outer:
            return self._outer[axes]
        product = outer_product([self.outer(axes[:-1]), self.factors[axes[-1]]])
        if self.keep:
            self._outer[axes] = product
        return product

    def _times_weight(self, axis: int) -> Tensor:
        if axis not in self._weighted:
            assert self.weight is not None
            self._weighted[axis] = self.weight.unsqueeze(-1) * self.factors[axis]
        return self._weighted[axis]

    def moments(self, *, smallest: int = 1) -> dict[Axes, Tensor]:
        """Return `E[f^S]` of every subset S of at least `smallest` factors, `(N, D, ..., D)`."""
        found = {}
        for size in range(smallest, len(self.every) + 1):
            for axes in combinations(self.every, size):
                right = self._times_weight(axes[-1])
                if size == 1:
                    found[axes] = right.sum(dim=1)
                    continue
                moment = torch.bmm(self.outer(axes[:-1]).transpose(1, 2), right)
                found[axes] = moment.reshape(-1, *[self.dim] * size)
        return found

    def centered(self, constants: Mapping[Axes, Tensor]) -> Tensor:
        """Return all components of the centered product, `(N, B, D ** k)`."""
        product = self.outer(self.every)
        for axes, constant in constants.items():
            kept = tuple(axis for axis in self.every if axis not in axes)
            if not kept:
                product = product + constant.reshape(len(constant), 1, -1)
                continue
            # One matrix product from the smaller product to all components: its matrix is the
            # constant on the axes that are constant, and the identity on those that are kept.
            matrix = _placed(constant, axes, kept, self.dim)
            product = torch.baddbmm(product, self.outer(kept), matrix)
        return product

    def read(self, constants: Mapping[Axes, Tensor], weight: Tensor) -> Tensor:
        """Return a linear map of the centered product, without ever forming its components.

        Constants are contracted with the weights instead, and the last factor is multiplied on
        after the matrix product: D times fewer numbers per row.

        **Shape**: a weight `(N, D ** k, C)` to `(N, B, C)`.
        """
        whole = weight.unflatten(1, [self.dim] * len(self.every))
        total = self._read(self.every, whole)
        single, of_single = [], []
        for axes, constant in constants.items():
            kept = tuple(axis for axis in self.every if axis not in axes)
            part = contract(whole, self.every, constant, axes)
            if not kept:
                total = total + part.unsqueeze(1)
            elif len(kept) == 1:
                single.append(self.factors[kept[0]])
                of_single.append(part)
            else:
                total = total + self._read(kept, part)
        if single:
            total = torch.baddbmm(total, torch.cat(single, dim=2), torch.cat(of_single, dim=1))
        return total

    def _read(self, axes: Axes, weight: Tensor) -> Tensor:
        """Return `<weight, product of factors>`, `(N, B, C)`, for a weight `(N, D, ..., D, C)`."""
        last, n_outputs = self.factors[axes[-1]], weight.shape[-1]
        if len(axes) == 1:
            return torch.bmm(last, weight)
        flat = weight.reshape(len(weight), -1, self.dim * n_outputs)
        part = torch.bmm(self.outer(axes[:-1]), flat)
        if n_outputs == 1:
            return (part * last).sum(dim=2, keepdim=True)
        return (part.unflatten(2, (self.dim, n_outputs)) * last.unsqueeze(3)).sum(dim=2)

    def scale(self, constants: Mapping[Axes, Tensor], moments: Mapping[Axes, Tensor]) -> Tensor:
        """Return the inverse root of the centered product's mean squared norm (eq. 10).

        **Shape**: `(N, 1, 1)`.

        Expanded into moments: of `f^J c` and `f^J' c'`, factors in both become squared norms, those
        in one are contracted with the constants of the other.

        NOTE[DIFF] A product whose centering leaves nothing (two factors that are equal signs) is
        sampling noise; the paper scales it up to norm 1. Here the mean squared norm is at least a
        twentieth of what it was before centering.
        """
        assert self.weight is not None
        every = self.every
        squares = torch.stack(self.factors).square().sum(dim=3).unbind(0)
        raw = (self.weight * reduce(torch.mul, squares)).sum(dim=1)
        total = raw
        if every in constants:
            # All that involves the constant of all axes: a centered product has mean zero.
            total = total - constants[every].square().flatten(1).sum(dim=1)
        parts: list[Axes] = [(), *(axes for axes in constants if axes != every)]
        for position, one in enumerate(parts):
            for other in parts[max(position, 1) :]:  # the whole product with itself is `raw`
                both = [axis for axis in every if axis not in one and axis not in other]
                either = tuple(axis for axis in every if (axis in one) != (axis in other))
                left = self._weighted_moment(squares, moments, both, either)
                if left is None:
                    continue
                if one == other:
                    total = total + left * constants[one].square().flatten(1).sum(dim=1)
                    continue
                if one:
                    left = contract_pair(constants[one], one, left, either, other)
                total = total + 2 * (left * constants[other]).flatten(1).sum(dim=1)
        return _inverse_root(total, PRODUCT_FLOOR * raw.detach()).reshape(-1, 1, 1)

    def _weighted_moment(
        self,
        squares: Sequence[Tensor],
        moments: Mapping[Axes, Tensor],
        both: Sequence[int],
        either: Axes,
    ) -> Tensor | None:
        """Return `E[prod_both |f|^2 f^either]`, or None where it is zero."""
        assert self.weight is not None
        if not both:
            return moments.get(either) if either else self.weight.new_ones(len(self.factors[0]))
        size = reduce(torch.mul, [squares[axis] for axis in both])
        if not either:
            return (self.weight * size).sum(dim=1)
        right = size.unsqueeze(-1) * self._times_weight(either[-1])
        if len(either) == 1:
            return right.sum(dim=1)
        moment = torch.bmm(self.outer(either[:-1]).transpose(1, 2), right)
        return moment.reshape(-1, *[self.dim] * len(either))


def contract(weight: Tensor, axes: Axes, constant: Tensor, own: Axes) -> Tensor:
    """Return weights `(N, D, ..., D, C)` over `axes` with a constant over some of them summed up.

    **Shape**: `(N, D, ..., D, C)` over the axes that are left.
    """
    left = [axis for axis in axes if axis not in own]
    rule = f"n{_letters(axes)}z,n{_letters(own)}->n{_letters(left)}z"
    return torch.einsum(rule, weight, constant)


def contract_pair(one: Tensor, one_axes: Axes, other: Tensor, axes: Axes, left: Axes) -> Tensor:
    """Return two tensors multiplied and summed over the axes that are not in `left`."""
    rule = f"n{_letters(one_axes)},n{_letters(axes)}->n{_letters(left)}"
    return torch.einsum(rule, one, other)


def _letters(axes: Sequence[int]) -> str:
    return "".join(chr(ord("a") + axis) for axis in axes)


def _spread(tensor: Tensor, own: Axes, axes: Axes) -> Tensor:
    """Return a tensor over some axes, `(N, D, ...)`, as one over `axes`, of length 1 elsewhere."""
    sizes = iter(tensor.shape[1:])
    return tensor.reshape(len(tensor), *[next(sizes) if axis in own else 1 for axis in axes])


def _placed(constant: Tensor, axes: Axes, kept: Axes, dim: int) -> Tensor:
    """Return the matrix `(N, D ** kept, D ** k)` that multiplies by a constant on `axes`."""
    every = tuple(sorted(axes + kept))
    n_kept = dim ** len(kept)
    identity = torch.eye(n_kept, dtype=constant.dtype, device=constant.device)
    identity = identity.reshape(n_kept, *[dim if axis in kept else 1 for axis in every])
    spread = _spread(constant, axes, every).unsqueeze(1)
    return (identity.unsqueeze(0) * spread).reshape(len(constant), n_kept, dim ** len(every))
