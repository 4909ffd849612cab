"""Predictions for rows that lack a modality: what is left stands in for what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["contribution_moments", "keep_available", "recover"]

FloatArray = NDArray[np.float64]
Blocks = dict[str, NDArray[np.floating[Any]]]

# Relative to the mean variance of a contribution.
RIDGE = 1e-3
# Moments of fewer complete rows are not worth a map.
MIN_COMPLETE = 10


def keep_available(blocks: Blocks, available: Sequence[str] | None) -> Blocks:
    """Return the blocks as if only the available modalities had been measured."""
    if available is None:
        return blocks
    if isinstance(available, str) or (unknown := [n for n in available if n not in blocks]):
        got = repr(available) if isinstance(available, str) else unknown
        raise ValueError(
            f"available= must be a list of modalities out of {list(blocks)}; got {got}."
        )
    return {
        name: block if name in available else np.full_like(block, np.nan)
        for name, block in blocks.items()
    }


def contribution_moments(
    values: FloatArray, weight: FloatArray, absent: NDArray[np.bool_] | None
) -> FloatArray | None:
    """Return the second moments `(T, T)` of centered contributions over complete rows.

    They are all that `recover` needs to know of the training rows. None when too few are complete.
    """
    complete = weight > 0 if absent is None else (weight > 0) & ~absent.any(axis=1)
    if complete.sum() < MIN_COMPLETE:
        return None
    values, weight = values[complete], weight[complete]
    moments: FloatArray = np.einsum("n,ntc,nsc->ts", weight / weight.sum(), values, values)
    return moments


def recover(values: FloatArray, absent: NDArray[np.bool_], moments: FloatArray) -> FloatArray:
    """Return contributions scaled so that those that are there make up for those that are not.

    For every pattern of absence, ridge regression of the sum of all contributions on the available
    ones (SMURF, section 4.4, RQ2), pooled over outputs; its coefficients scale the contributions,
    so that they still add up to the prediction.
    """
    values = values.copy()
    patterns, pattern_of = np.unique(absent, axis=0, return_inverse=True)
    for position, pattern in enumerate(patterns):
        left = np.flatnonzero(~pattern)
        if not pattern.any() or not len(left):
            continue
        inner = moments[np.ix_(left, left)]
        ridge = RIDGE * max(float(np.trace(moments)) / len(moments), np.finfo(np.float64).tiny)
        scale = np.linalg.solve(inner + ridge * np.eye(len(left)), moments[left].sum(axis=1))
        rows = np.flatnonzero(pattern_of.ravel() == position)
        values[np.ix_(rows, left)] *= scale[:, np.newaxis]
    return values
