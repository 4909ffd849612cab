"""What the two redundant parts of a pair say: whether they agree, sample by sample and overall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._intervals import bootstrap_interval, check_confidence
from sklearn_mmfuse._terms import SEPARATOR, Term

__all__ = ["redundancy_table", "surprise_table"]

FloatArray = NDArray[np.float64]
Pair = tuple[str, list[int]]


def surprise_table(parts: Decomposition, index: pd.Index | None) -> pd.DataFrame:
    """Return how much two parts disagree, a row per sample; NaN where one of them is absent."""
    columns = {}
    for pair, position in _pairs(parts.terms):
        difference = parts.values[:, position[0]] - parts.values[:, position[1]]
        difference[~_there(parts, position)] = np.nan
        columns[pair] = np.abs(difference)
    if len(parts.outputs) == 1:
        return pd.DataFrame({pair: values[:, 0] for pair, values in columns.items()}, index)
    return pd.DataFrame(
        {
            (output, pair): values[:, i]
            for i, output in enumerate(parts.outputs)
            for pair, values in columns.items()
        },
        index,
    ).rename_axis(columns=["output", "pair"])


def redundancy_table(
    parts: Decomposition,
    *,
    confidence: float,
    n_bootstrap: int,
    groups: ArrayLike | None,
    random_state: int | None,
) -> pd.DataFrame:
    """Return the correlation of two parts with its interval, and how much each varies."""
    check_confidence(confidence)
    columns = ["correlation", *(["low", "high"] if n_bootstrap else []), "std_first", "std_second"]
    rows = {}
    for pair, position in _pairs(parts.terms):
        both, there = parts.values[:, position], _there(parts, position)
        told = _moments(both, there, np.full((1, len(parts)), 1 / len(parts)))[0]
        ends = np.empty((len(parts.outputs), 0))
        if n_bootstrap:
            ends = bootstrap_interval(
                partial(_correlation, both, there),
                len(parts),
                n_bootstrap=n_bootstrap,
                confidence=confidence,
                groups=groups,
                random_state=random_state,
            )
        for i, output in enumerate(parts.outputs):
            rows[output, pair] = [told[i, 0], *ends[i], *told[i, 1:]]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index = pd.MultiIndex.from_tuples(rows, names=["output", "pair"])
    return table.droplevel("output") if len(parts.outputs) == 1 else table


def _pairs(terms: Sequence[Term]) -> Iterator[Pair]:
    """Yield every pair that shares something, and the positions of its two parts."""
    redundant = [term for term in terms if term.kind == "redundant"]
    for one, other in combinations(redundant, 2):
        if (one.modalities, one.partner) == (other.partner, other.modalities):
            pair = " and ".join(SEPARATOR.join(term.modalities) for term in (one, other))
            yield pair, [terms.index(one), terms.index(other)]


def _there(parts: Decomposition, position: list[int]) -> NDArray[np.bool_]:
    """Return which samples have both parts, `(n,)`."""
    if parts.absent is None:
        return np.ones(len(parts), dtype=bool)
    return ~np.asarray(parts.absent[:, position].any(axis=1))


def _correlation(both: FloatArray, there: NDArray[np.bool_], weights: FloatArray) -> FloatArray:
    return _moments(both, there, weights)[..., 0]


def _moments(both: FloatArray, there: NDArray[np.bool_], weights: FloatArray) -> FloatArray:
    """Return the correlation of two parts and their standard deviations, `(b, C, 3)`.

    Of parts `(n, 2, C)` under row weights `(b, n)`; NaN where a part does not vary.
    """
    if not there.any():
        return np.full((len(weights), both.shape[2], 3), np.nan)
    values = both[there] - both[there].mean(axis=0)
    weights = weights[:, there]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = weights / weights.sum(axis=1, keepdims=True)
        mean = np.einsum("bn,npc->bpc", weights, values)
        variance = np.einsum("bn,npc->bpc", weights, values**2) - mean**2
        covariance = weights @ values.prod(axis=1) - mean.prod(axis=1)
        std = np.sqrt(np.maximum(variance, 0.0))
        return np.stack([covariance / std.prod(axis=1), std[:, 0], std[:, 1]], axis=-1)
