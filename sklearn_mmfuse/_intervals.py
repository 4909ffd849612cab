"""Confidence intervals over rows, or over the persons that rows belong to."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from sklearn_mmfuse._groups import members
from sklearn_mmfuse._random import Seed, generator

__all__ = [
    "bootstrap_interval",
    "bootstrap_weights",
    "check_confidence",
    "mean_error",
    "mean_interval",
]

FloatArray = NDArray[np.float64]

MAX_WEIGHTS = 2**23  # in memory at once


def bootstrap_weights(
    n_samples: int,
    n_bootstrap: int,
    *,
    groups: ArrayLike | None = None,
    random_state: Seed = None,
) -> FloatArray:
    """Return row weights, one replicate per row, each adding up to 1.

    Parameters
    ----------
    n_samples : int
        How many rows there are.
    n_bootstrap : int
        How many replicates to draw.
    groups : array-like of shape (n_samples,), optional
        Whole groups are drawn, each row as often as its group.
    random_state : int, RandomState or None, default=None
        Seeds the draws; None takes fresh entropy.

    Returns
    -------
    weights : ndarray of shape (n_bootstrap, n_samples)
        Counts over their sum.

    Examples
    --------
    >>> from sklearn_mmfuse._intervals import bootstrap_weights
    >>> bootstrap_weights(4, 2, random_state=0).sum(axis=1)
    array([1., 1.])
    """
    rng = generator(random_state)
    n_groups, member = members(n_samples, groups)
    if groups is not None and n_groups < 2:
        raise ValueError("groups holds a single group; drawing groups needs at least two.")
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_bootstrap)
    weights = counts[:, member].astype(np.float64)
    normalized: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def mean_interval(
    values: FloatArray,
    *,
    confidence: float,
    weight: FloatArray | None = None,
    groups: ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return weighted means over rows and their intervals by the central limit theorem.

    Rows of a group may depend on each other: with `groups`, what varies is the sum over a group of
    deviations from the mean, and its quantile is Student's, for groups are often few. A row without
    a value (NaN) does not count.

    Parameters
    ----------
    values : ndarray of shape (n_samples, ...)
        Numbers or NaN.
    confidence : float
        The level.
    weight : ndarray of shape (n_samples,), optional
        What rows count.
    groups : array-like of shape (n_samples,), optional
        The person each row belongs to.

    Returns
    -------
    mean : ndarray of shape (...)
        NaN where no row has a value.
    interval : ndarray of shape (..., 2)
        Lower and upper ends; NaN where fewer than two rows (or groups) have a value.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse._intervals import mean_interval
    >>> mean, interval = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]), confidence=0.95)
    >>> float(mean), interval.round(2)
    (2.5, array([1.23, 3.77]))
    """
    check_confidence(confidence)
    mean, error, n = mean_error(values, weight=weight, groups=groups)
    level = 0.5 + confidence / 2
    reach = norm.ppf(level) if groups is None else t.ppf(level, np.maximum(n - 1, 1))
    ends = np.stack([mean - reach * error, mean + reach * error], axis=-1)
    ends[n < 2] = np.nan
    return mean, ends


def mean_error(
    values: FloatArray, *, weight: FloatArray | None = None, groups: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    """Return weighted means over rows, their standard errors, and of how many rows or groups.

    Parameters
    ----------
    values, weight, groups
        As in `mean_interval`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse._intervals import mean_error
    >>> [float(number) for number in mean_error(np.array([1.0, 2.0, 3.0]))]
    [2.0, 0.577350269, 3.0]
    """
    n_groups, member = members(len(values), groups)
    flat = values.reshape(len(values), -1)
    there = ~np.isnan(flat)
    weights = there * (np.ones(len(values)) if weight is None else weight)[:, np.newaxis]
    total = weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weights * np.where(there, flat, 0.0)).sum(axis=0) / total
        deviation = weights * np.where(there, flat - mean, 0.0)
        sums, counts = deviation, weights > 0
        if groups is not None:
            order = np.argsort(member, kind="stable")
            starts = np.searchsorted(member[order], np.arange(n_groups))
            sums = np.add.reduceat(deviation[order], starts, axis=0)
            counts = np.logical_or.reduceat(counts[order], starts, axis=0)
        n = counts.sum(axis=0)
        error = np.sqrt((sums**2).sum(axis=0) * n / (n - 1)) / total
    shape = values.shape[1:]
    return mean.reshape(shape), error.reshape(shape), n.reshape(shape)


def bootstrap_interval(
    statistic: Callable[[FloatArray], FloatArray],
    n_samples: int,
    *,
    n_bootstrap: int,
    confidence: float,
    groups: ArrayLike | None = None,
    random_state: Seed = None,
) -> FloatArray:
    """Return percentile intervals of a statistic of weighted rows.

    Parameters
    ----------
    statistic : callable
        From row weights (b, n_samples), each row adding up to 1, to statistics (b, ...).
    n_samples, n_bootstrap, groups, random_state
        As in `bootstrap_weights`.
    confidence : float
        The level.

    Returns
    -------
    interval : ndarray of shape (..., 2)
        Lower and upper ends.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse._intervals import bootstrap_interval
    >>> x = np.arange(100.0)
    >>> bootstrap_interval(lambda weights: weights @ x, 100, n_bootstrap=500, confidence=0.9,
    ...                    random_state=0).round()
    array([45., 54.])
    """
    check_confidence(confidence)
    if not isinstance(n_bootstrap, int | np.integer) or n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be a positive integer; got {n_bootstrap!r}.")
    rng = generator(random_state)
    step = max(1, MAX_WEIGHTS // n_samples)
    replicates = []
    for start in range(0, n_bootstrap, step):
        count = min(step, n_bootstrap - start)
        weights = bootstrap_weights(n_samples, count, groups=groups, random_state=rng)
        replicates.append(statistic(weights))
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN stays NaN
        # A replicate of few rows may leave nothing to divide by.
        ends = np.nanquantile(np.concatenate(replicates), [tail, 1 - tail], axis=0)
    interval: FloatArray = np.moveaxis(ends, 0, -1)
    return interval


def check_confidence(confidence: float) -> None:
    """Refuse a level that is no probability, such as 95."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {confidence!r}.")
