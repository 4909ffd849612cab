"""Bootstrap over rows, or over the persons that rows belong to."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklearn_mmfuse._random import Seed, generator

__all__ = ["bootstrap_interval", "bootstrap_weights", "check_confidence"]

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
    >>> from sklearn_mmfuse._bootstrap import bootstrap_weights
    >>> bootstrap_weights(4, 2, random_state=0).sum(axis=1)
    array([1., 1.])
    """
    rng = generator(random_state)
    labels = np.arange(n_samples) if groups is None else np.asarray(groups)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"groups must hold one entry for each of the {n_samples} samples; got shape "
            f"{labels.shape}."
        )
    names, member = np.unique(labels, return_inverse=True)
    if groups is not None and len(names) < 2:
        raise ValueError("groups holds a single group; drawing groups needs at least two.")
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    weights = counts[:, member].astype(np.float64)
    normalized: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return normalized


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
    >>> from sklearn_mmfuse._bootstrap import bootstrap_interval
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
