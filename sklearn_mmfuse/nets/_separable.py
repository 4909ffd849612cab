"""Terms taken apart into what each modality brings, so that a modality can be averaged out cheaply.

A term reads features of each of its modalities, computed once per row, and combines them. Where
the combination is linear in each of them (outer products), averaging a modality out is replacing
its features by their mean; where it is a sum under one layer of relu units, it is a sorted sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_mmfuse._effects import Pool, Subset, subsets
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._tensor_product import outer_product

__all__ = [
    "JointTerm",
    "LowRankTerm",
    "MultilinearTerm",
    "ProductTerm",
    "SeparableTerm",
    "SumTerm",
    "mean_of_relu",
]

# One look-up in a sorted array takes as long as so many evaluations of a unit.
LOOKUP = 4
LOOKUP_CHUNK = 2**16
MAX_NUMBERS = 2**22  # read at once by a joint term

FloatArray = NDArray[np.float64]
Features = Mapping[str, Tensor]


class SeparableTerm(ABC):
    """One term of a net on the rows of a pool; members are averaged.

    Parameters
    ----------
    term : Term
        Which.
    features : mapping of str to Tensor
        What each of its modalities brings, `(E, B, F)`.
    """

    # What one evaluation costs, in those of a small perceptron.
    unit_cost = 1

    def __init__(self, term: Term, features: Features) -> None:
        self.terms: tuple[Term, ...] = (term,)
        self.features = dict(features)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that are read."""
        return self.terms[0].modalities

    @abstractmethod
    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Return the term, `(E, B, C)`, from features in the order of its modalities."""

    def evaluate(self, rows: Mapping[str, NDArray[np.intp]]) -> FloatArray:
        """Return the term `(k, C)` on rows of the pool, chosen per modality."""
        picked = [self.features[m][:, torch.from_numpy(rows[m])] for m in self.names]
        values: FloatArray = self.read(picked).mean(dim=0).numpy()
        return values

    def closed_cost(self, pool: Pool) -> int | None:
        """Return what `closed_means` costs, in evaluations, or None where there is no closed form.

        What grows with the number of rows alone costs 0.
        """
        return None

    def closed_means(self, pool: Pool) -> dict[Subset, FloatArray]:
        """Return `E_T` of the term at every row of the pool's rows, for every subset T."""
        raise NotImplementedError

    def _means_by_substitution(self, pool: Pool) -> dict[Subset, FloatArray]:
        """Return `E_T` of what is linear in each modality's features."""
        background = torch.from_numpy(pool.background)
        names = self.names
        mean = {m: self.features[m][:, background].mean(dim=1, keepdim=True) for m in names}
        rows = {m: self.features[m][:, : pool.n_rows] for m in names}
        means = {}
        for kept in [(), *subsets(names, len(names))]:
            value = self.read([rows[m] if m in kept else mean[m] for m in names])
            means[kept] = value.mean(dim=0).numpy()
        means[()] = means[()][0]
        return means


class ProductTerm(SeparableTerm):
    """A linear map of the outer product of embeddings.

    Parameters
    ----------
    term, features
        As in :class:`SeparableTerm`; features are embeddings.
    weight, bias : Tensor
        `(E, D_1 * ... * D_k, C)` and `(E, 1, C)`.
    """

    def __init__(self, term: Term, features: Features, weight: Tensor, bias: Tensor) -> None:
        super().__init__(term, features)
        self.weight = weight
        self.bias = bias

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map of the outer product."""
        n_rows = max(feature.shape[1] for feature in features)
        expanded = [feature.expand(-1, n_rows, -1) for feature in features]
        return torch.baddbmm(self.bias, outer_product(expanded), self.weight)

    def closed_cost(self, pool: Pool) -> int:
        """Return nothing to speak of: the mean of a product is the product of the means."""
        return 0

    def closed_means(self, pool: Pool) -> dict[Subset, FloatArray]:
        """Return all means, exactly."""
        return self._means_by_substitution(pool)


class LowRankTerm(ProductTerm):
    """A linear map of the elementwise product of factors, by `weight` `(E, R, C)`."""

    def __init__(self, term: Term, features: Features, weight: Tensor) -> None:
        super().__init__(term, features, weight, torch.zeros_like(weight[:, :1]))

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map of the product."""
        return torch.baddbmm(self.bias, reduce(torch.mul, features), self.weight)


class SumTerm(SeparableTerm):
    """A perceptron on the sum of what its modalities bring to its first layer.

    Parameters
    ----------
    term, features
        As in :class:`SeparableTerm`; features are products with the first layer's weights.
    first_bias : Tensor
        `(E, 1, H)`.
    later : sequence of pair of Tensor
        Weights `(E, in, out)` and bias `(E, 1, out)` of each later layer.
    activation : callable
        Applied before each later layer.
    """

    def __init__(
        self,
        term: Term,
        features: Features,
        first_bias: Tensor,
        later: Sequence[tuple[Tensor, Tensor]],
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(term, features)
        self.first_bias = first_bias
        self.later = list(later)
        self.activation = activation

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Return the perceptron's output."""
        hidden = reduce(torch.add, features) + self.first_bias
        for weight, bias in self.later:
            hidden = torch.baddbmm(bias, self.activation(hidden), weight)
        return hidden

    def take_outputs(self, term: Term, start: int, stop: int) -> SumTerm:
        """Return the perceptron's outputs `start` to `stop` as a term of their own."""
        if self.later:
            weight, bias = self.later[-1]
            last = (weight[..., start:stop], bias[..., start:stop])
            later = [*self.later[:-1], last]
            return SumTerm(term, self.features, self.first_bias, later, self.activation)
        features = {name: feature[..., start:stop] for name, feature in self.features.items()}
        bias = self.first_bias[..., start:stop]
        return SumTerm(term, features, bias, [], self.activation)

    def closed_cost(self, pool: Pool) -> int | None:
        """Return the cost of a linear map or of one relu layer; None for anything else."""
        order = len(self.names)
        if not self.later:
            return 0
        if len(self.later) > 1 or self.activation is not torch.relu:
            return None
        n_background = len(pool.background)
        looked_up = sum(comb(order, k) * n_background ** (k - 1) for k in range(1, order))
        cost = LOOKUP * pool.n_rows * looked_up
        if pool.n_background is not None and order > 1:  # the mean over all modalities
            cost += LOOKUP * n_background ** (order - 1)
        return cost

    def closed_means(self, pool: Pool) -> dict[Subset, FloatArray]:
        """Return all means, exactly."""
        if not self.later:
            return self._means_by_substitution(pool)
        names = self.names
        rows, background = np.arange(pool.n_rows), pool.background
        means = {names: self.evaluate(dict.fromkeys(names, rows))}
        for kept in subsets(names, len(names) - 1):
            means[kept] = self._mean_of_relu(kept, rows, background)
        if pool.n_background is None:
            over_one = means[names[:1]]
        elif len(names) == 1:
            over_one = self.evaluate({names[0]: background})
        else:
            over_one = self._mean_of_relu(names[:1], background, background)
        means[()] = over_one.mean(axis=0)
        return means

    def _mean_of_relu(
        self, kept: Subset, rows: NDArray[np.intp], background: NDArray[np.intp]
    ) -> FloatArray:
        """Return `E_kept` at some rows: unit by unit, then through the linear read-out."""
        known = (reduce(torch.add, (self.features[m] for m in kept)) + self.first_bias).numpy()
        others = [self.features[m].numpy() for m in self.names if m not in kept]
        hidden = np.empty((known.shape[0], len(rows), known.shape[2]))
        for member, unit in np.ndindex(hidden.shape[0], hidden.shape[2]):
            hidden[member, :, unit] = mean_of_relu(
                known[member, rows, unit], [other[member, background, unit] for other in others]
            )
        weight, bias = self.later[0]
        mean: FloatArray = torch.baddbmm(bias, torch.from_numpy(hidden), weight).mean(0).numpy()
        return mean


class JointTerm(SeparableTerm):
    """Terms of which nothing is known but how to evaluate them, all at once.

    Parameters
    ----------
    terms : sequence of Term
        Which; the function returns their values one behind the other.
    names : tuple of str
        The modalities that any of them depends on.
    features
        As in :class:`SeparableTerm`, of any shape `(E or 1, B, ...)`.
    function : callable
        From features of some rows to `(E, B, T * C)`.
    unit_cost : int
        What an evaluation costs, in those of a small perceptron.
    max_rows : int, default=8192
        How many rows the function can take at once.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        names: tuple[str, ...],
        features: Features,
        function: Callable[[Features], Tensor],
        unit_cost: int,
        max_rows: int = 8192,
    ) -> None:
        super().__init__(terms[0], features)
        self.terms = tuple(terms)
        self._names = names
        self.function = function
        self.unit_cost = unit_cost
        self.max_rows = max_rows

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that are read."""
        return self._names

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Return all terms."""
        named = dict(zip(self.names, features, strict=True))
        numbers = sum(feature[0, 0].numel() for feature in features)
        at_once = max(1, min(MAX_NUMBERS // numbers, self.max_rows))
        bounds = [*range(0, features[0].shape[1], at_once), features[0].shape[1]]
        pieces = [
            self.function({name: feature[:, start:stop] for name, feature in named.items()})
            for start, stop in pairwise(bounds)
        ]
        return torch.cat(pieces, dim=1)

    def take_outputs(self, term: Term, start: int, stop: int) -> JointTerm:
        """Return the outputs `start` to `stop` as a term of their own."""
        whole = self.function

        def some(features: Features) -> Tensor:
            return whole(features)[..., start:stop]

        return JointTerm([term], self.names, self.features, some, self.unit_cost, self.max_rows)


class MultilinearTerm(JointTerm):
    """Terms that are linear in the features of each modality: averages are exact and free."""

    def read(self, features: Sequence[Tensor]) -> Tensor:
        """Return all terms; features of one row serve all rows."""
        n_rows = max(feature.shape[1] for feature in features)
        return super().read([feature.expand(-1, n_rows, -1) for feature in features])

    def closed_cost(self, pool: Pool) -> int:
        """Return nothing to speak of: the mean of a product is the product of the means."""
        return 0

    def closed_means(self, pool: Pool) -> dict[Subset, FloatArray]:
        """Return all means, exactly."""
        return self._means_by_substitution(pool)


def mean_of_relu(known: FloatArray, others: Sequence[FloatArray]) -> FloatArray:
    """Return `E relu(known + u_1 + ... + u_k)`, each u drawn on its own from an array of numbers.

    The last u is integrated by looking up where the relu starts in the sorted numbers: a factor of
    N / log N less than adding up every combination.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.nets._separable import mean_of_relu
    >>> mean_of_relu(np.array([0.0, 2.0]), [np.array([-1.0, 1.0])])
    array([0.5, 2. ])
    """
    *earlier, last = others
    last = np.sort(last)
    above = np.append(np.cumsum(last[::-1])[::-1], 0.0)  # sums of the numbers from a position on
    shifts = reduce(lambda a, b: np.add.outer(a, b).ravel(), earlier, np.zeros(1))
    shifts.sort()  # neighboring look-ups then touch neighboring memory
    result = np.empty(len(known))
    step = max(1, LOOKUP_CHUNK // len(shifts))
    for start in range(0, len(known), step):
        total = known[start : start + step, np.newaxis] + shifts
        position = np.searchsorted(last, -total)
        mean = (total * (len(last) - position) + above[position]).mean(axis=1) / len(last)
        result[start : start + step] = mean
    return result
