"""Which rows early stopping watches: explicit, by person, by class, or at random."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.metadata_routing import get_routing_for_object

__all__ = ["cross_validation_splits", "holds_every_class", "validation_split"]

N_FOLDS = 5

Indices = NDArray[np.intp]
Split = tuple[Indices, Indices]


def validation_split(
    fraction: Any,
    *,
    X: Any,
    y: NDArray[np.generic],
    groups: NDArray[np.generic] | None,
    classification: bool,
    random_state: np.random.RandomState,
) -> Split:
    """Return training and validation rows.

    No group is ever on both sides, and no class is missing from the training rows when a split
    that keeps it there exists.

    Parameters
    ----------
    fraction : float or splitter
        The share of rows (of groups, when there are some) to watch; or a scikit-learn splitter or
        an iterable of `(train, validation)` pairs, whose first split is taken.
    X : object
        Handed to the splitter.
    y : ndarray of shape (n,) or (n, n_labels)
        Targets; class numbers, or zeros and ones of labels, in classification.
    groups : ndarray of shape (n,) or None
        The person, or whatever else must not be on both sides.
    classification : bool
        Stratify by `y`, unless it has several columns.
    random_state : RandomState
        Draws the split.

    Raises
    ------
    ValueError
        When there is a single group, or a split leaves either side empty, shares a row or a group,
        or names rows that there are not.
    """
    splits = (
        _own_splits(round(1.0 / float(fraction)), y, groups, classification, random_state)
        if isinstance(fraction, Real)
        else _splits_of(fraction, X, y, groups)
    )
    train, validation = _first_complete(splits, y, classification)
    _check_sides(train, validation, groups)
    return train, validation


def cross_validation_splits(
    fraction: Any,
    *,
    X: Any,
    y: NDArray[np.generic],
    groups: NDArray[np.generic] | None,
    classification: bool,
    random_state: np.random.RandomState,
) -> list[Split]:
    """Return training and validation rows of every fold.

    The parameters are those of :func:`validation_split`; of a `fraction` that is a number there are
    five folds.

    Raises
    ------
    ValueError
        As `validation_split` does.
    """
    splits = (
        _own_splits(N_FOLDS, y, groups, classification, random_state)
        if isinstance(fraction, Real)
        else _splits_of(fraction, X, y, groups)
    )
    checked = []
    for sides in splits:
        train, validation = (_positions(side, len(y)) for side in sides)
        _check_sides(train, validation, groups)
        checked.append((train, validation))
    return checked


def _splits_of(
    chosen: Any, X: Any, y: NDArray[np.generic], groups: NDArray[np.generic] | None
) -> Iterator[Split]:
    """Return the splits of a user's splitter, or of a list."""
    pairs = isinstance(chosen, list | tuple)
    if isinstance(chosen, str) or (
        pairs and any(not isinstance(s, list | tuple) or len(s) != 2 for s in chosen)
    ):
        raise ValueError(
            "validation_fraction must be a number, a splitter, or a list of (train, validation) "
            "pairs of positions; a single pair is a list as well: [(train, validation)]."
        )
    if pairs:
        return iter(chosen)
    # A splitter that does not read groups warns when it is handed some.
    reads_groups = get_routing_for_object(chosen).consumes("split", ["groups"])
    if reads_groups and groups is None:
        raise ValueError(
            f"validation_fraction is {chosen!r}, which keeps groups apart; pass them to fit, "
            "groups=, or choose a splitter that needs none."
        )
    splits: Iterator[Split] = chosen.split(X, y, groups if reads_groups else None)
    return splits


def _own_splits(
    n_splits: int,
    y: NDArray[np.generic],
    groups: NDArray[np.generic] | None,
    classification: bool,
    random_state: np.random.RandomState,
) -> Iterator[Split]:
    """Yield candidate splits, in random order; every row is watched in one of them."""
    n_units = len(y) if groups is None else len(np.unique(groups))
    if n_units < 2:
        raise ValueError(
            "Early stopping watches the rows of other groups, but `groups` has a single value; "
            "pass more groups, no groups, or early_stopping=False."
        )
    n_splits = int(np.clip(n_splits, 2, n_units))
    options = {"n_splits": n_splits, "shuffle": True, "random_state": random_state}
    # A class with fewer rows than splits cannot be stratified.
    stratify = classification and y.ndim == 1 and _smallest_class(y) >= n_splits
    if groups is None:
        splitter = StratifiedKFold(**options) if stratify else KFold(**options)
    else:
        splitter = StratifiedGroupKFold(**options) if stratify else GroupKFold(**options)
    yield from splitter.split(np.zeros(len(y)), y, groups)


def _smallest_class(y: NDArray[np.generic]) -> int:
    return int(np.unique(y, return_counts=True)[1].min())


def _count_classes(y: NDArray[np.generic]) -> int:
    """Return how many classes there are, over all columns."""
    return sum(len(np.unique(column)) for column in np.atleast_2d(y.T))


def _first_complete(splits: Iterable[Split], y: NDArray[np.generic], classification: bool) -> Split:
    """Return the first split whose training rows hold every class, else the first."""
    first: Split | None = None
    for sides in splits:
        train, validation = (_positions(side, len(y)) for side in sides)
        if not classification or holds_every_class(y[train], y):
            return train, validation
        first = first or (train, validation)
    if first is None:
        raise ValueError("validation_fraction yields no split; it must yield at least one.")
    return first


def holds_every_class(some: NDArray[np.generic], every: NDArray[np.generic]) -> bool:
    """Return whether some targets are of as many classes, over all columns, as all of them."""
    return _count_classes(some) == _count_classes(every)


def _positions(side: Any, n_rows: int) -> Indices:
    """Return the rows of one side as positions."""
    rows = np.asarray(side)
    if rows.dtype == bool and rows.shape == (n_rows,):
        rows = np.flatnonzero(rows)
    whole = rows.dtype.kind in "iu" or (rows.dtype.kind == "f" and (rows % 1 == 0).all())
    there = whole and ((rows >= -n_rows) & (rows < n_rows)).all()
    if rows.size and not there:
        raise ValueError(
            f"validation_fraction yields (train, validation) positions among the {n_rows} rows of "
            f"fit; got {rows}."
        )
    return np.asarray(np.arange(n_rows)[rows.astype(np.intp)])


def _check_sides(train: Indices, validation: Indices, groups: NDArray[np.generic] | None) -> None:
    if len(train) == 0 or len(validation) == 0:
        raise ValueError(
            f"Early stopping needs rows on both sides; validation_fraction gives {len(train)} "
            f"for training and {len(validation)} for validation."
        )
    if both := np.intersect1d(train, validation).size:
        raise ValueError(
            f"Early stopping watches other rows than those that are trained on; the split of "
            f"validation_fraction has {both} rows on both sides."
        )
    if groups is not None and np.isin(groups[validation], groups[train]).any():
        raise ValueError(
            "The split of validation_fraction puts a group on both sides; use a splitter that "
            "respects groups, such as GroupShuffleSplit."
        )
