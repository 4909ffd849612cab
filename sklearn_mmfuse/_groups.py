"""Which person, or whatever else must not be torn apart, each row belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["check_groups", "members"]


def check_groups(groups: Any, n_samples: int) -> NDArray[Any] | None:
    """Return `groups` as a 1-D array with one entry per sample, or None."""
    if groups is None:
        return None
    array = np.asarray(groups.detach().cpu() if hasattr(groups, "detach") else groups)
    if array.shape != (n_samples,):
        raise ValueError(
            f"groups must hold one entry for each of the {n_samples} samples; got shape "
            f"{array.shape}."
        )
    if pd.isna(array).any():
        raise ValueError("groups has missing entries; give every sample its group.")
    return array


def members(n_samples: int, groups: Any) -> tuple[int, NDArray[np.intp]]:
    """Return how many groups there are and the number of each row's; without any, all rows.

    Examples
    --------
    >>> from sklearn_mmfuse._groups import members
    >>> members(3, ["b", "a", "b"])
    (2, array([1, 0, 1]))
    """
    labels = check_groups(groups, n_samples)
    if labels is None:
        return n_samples, np.arange(n_samples)
    names, member = np.unique(labels, return_inverse=True)
    return len(names), member
