"""Bootstrap over rows, or over the persons that rows belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bootstrap_weights", "percentile_interval"]

FloatArray = NDArray[np.float64]


def bootstrap_weights(
    n_samples: int,
    n_bootstrap: int,
    *,
    groups: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
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
    if isinstance(random_state, np.random.RandomState):
        rng = random_state
    else:
        rng = np.random.RandomState(random_state)
    labels = np.arange(n_samples) if groups is None else np.asarray(groups)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"groups must hold one entry for each of the {n_samples} samples; got shape "
            f"{labels.shape}."
        )
    names, member = np.unique(labels, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_bootstrap)
    weights = counts[:, member].astype(np.float64)
    normalized: FloatArray = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def percentile_interval(replicates: FloatArray, confidence: float) -> FloatArray:
    """Return the lower and the upper end of percentile intervals, `(..., 2)`, over axis 0."""
    tail = (1 - confidence) / 2
    ends: FloatArray = np.moveaxis(np.quantile(replicates, [tail, 1 - tail], axis=0), 0, -1)
    return ends
