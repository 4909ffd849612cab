"""Values so far from all others that scaling by a standard deviation leaves nothing of these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["far_values"]

FAR = 8.0  # times the range of all other values; -999 is so far from -99 and answers
TWO_POINTS = 0.9  # of the variance that two values alone would have
MIN_OTHERS = 3  # of a flag, or an indicator, there are fewer


def far_values(block: NDArray[np.floating[Any]]) -> list[tuple[int, float]]:
    """Return columns with a value, perhaps repeated, that is far from all others, and this value.

    Parameters
    ----------
    block : ndarray of shape (n, d)
        Without NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.estimators._far_values import far_values
    >>> answers = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], (2, 10)).T
    >>> answers[:4, 1] = -999.0
    >>> far_values(answers)
    [(1, -999.0)]
    """
    if len(block) <= MIN_OTHERS:
        return []
    low, high = block.min(axis=0), block.max(axis=0)
    mean, variance = (f(block, axis=0, dtype=np.float64) for f in (np.mean, np.var))
    # No variance is larger than this product, which that of two points is (Bhatia and Davis 2000).
    suspect = variance >= TWO_POINTS * (high - mean) * (mean - low)
    suspect &= ((block != low) & (block != high)).any(axis=0)  # other than indicators
    found = []
    for column in np.flatnonzero(suspect):
        values = np.unique(block[:, column])
        for far, nearest, others in (
            (values[0], values[1], values[1:]),
            (values[-1], values[-2], values[:-1]),
        ):
            if len(others) >= MIN_OTHERS and abs(far - nearest) > FAR * (others[-1] - others[0]):
                found.append((int(column), float(far)))
    return found
