"""Which columns make up a modality: selectors, prefixes, levels, and cells that hold arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_mmfuse._data import MultimodalData, check_modality_name

__all__ = [
    "NAMELESS",
    "by_top_level",
    "column_names",
    "columns_of_arrays",
    "group_by_prefix",
    "is_frame",
    "refuse_some_arrays",
    "resolve_columns",
    "select_columns",
    "shortened",
    "stack_cells",
    "take_columns",
]

NAMELESS = "X"  # the one modality of data that names none


def is_frame(X: Any) -> bool:
    """Whether `X` is a data frame: pandas, polars, or whatever else narwhals reads."""
    return bool(nw.dependencies.is_into_dataframe(X))


def column_names(X: Any) -> list[Any] | None:
    """Return the column names of a frame (of a container: its modalities), None for an array."""
    if isinstance(X, MultimodalData):
        return list(X)
    return list(nw.from_native(X).columns) if is_frame(X) else None


def resolve_columns(X: Any, selector: Any) -> list[int]:
    """Return the positions of the columns of `X` that `selector` picks.

    Parameters
    ----------
    X : data frame, array of shape (n, d) or MultimodalData
        What is picked from.
    selector : str, int, bool mask, slice, list or array of these, or callable
        As in :class:`~sklearn.compose.ColumnTransformer`: a slice of positions is half open, a
        slice of names includes its end, a callable is handed `X`.

    Returns
    -------
    positions : list of int
        Not negative.

    Raises
    ------
    ValueError
        When a column does not exist or the selector is of no such kind.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_mmfuse._columns import resolve_columns
    >>> resolve_columns(pd.DataFrame({"a": [1], "b": [2], "c": [3]}), slice("b", "c"))
    [1, 2]
    """
    if callable(selector):
        selector = selector(X)
    names, n_columns = column_names(X), X.shape[1]
    if isinstance(selector, slice):
        return _from_slice(selector, names, n_columns)
    items = [selector] if np.isscalar(selector) else _as_list(selector)
    if not items:
        return []
    if all(isinstance(item, str) for item in items):
        return [_position(item, names) for item in items]
    if all(isinstance(item, bool | np.bool_) for item in items) and not np.isscalar(selector):
        return _from_mask(items, n_columns)
    return [_checked_position(item, n_columns) for item in items]


def _as_list(selector: Any) -> list[Any]:
    if isinstance(selector, list | tuple):
        return list(selector)
    if np.ndim(selector) != 1:
        raise _not_a_selector(selector)
    return np.asarray(selector).tolist()


def _not_a_selector(selector: Any) -> ValueError:
    return ValueError(
        f"Columns are picked by names, positions, a boolean mask, a slice or a callable, "
        f"got {selector!r}."
    )


def _position(name: Any, names: Sequence[Any] | None) -> int:
    if names is None:
        raise ValueError(
            f"Column {name!r} is picked by name, but X has no column names; pass a data frame or "
            "pick by position."
        )
    if name not in names:
        raise ValueError(f"X has no column {name!r}, only {shortened(names)}.")
    return names.index(name)


def shortened(names: Sequence[Any], limit: int = 10) -> str:
    """Return names as a text, the first of them if there are many."""
    listed = ", ".join(repr(name) for name in names[:limit])
    return listed if len(names) <= limit else f"{listed}, ... ({len(names)} in all)"


def _checked_position(item: Any, n_columns: int) -> int:
    if isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer):
        raise _not_a_selector(item)
    if not -n_columns <= item < n_columns:
        raise ValueError(f"X has {n_columns} columns, so there is no column {item}.")
    return int(item) % n_columns


def _from_mask(mask: list[Any], n_columns: int) -> list[int]:
    if len(mask) != n_columns:
        raise ValueError(f"The mask has {len(mask)} entries for {n_columns} columns.")
    return [i for i, picked in enumerate(mask) if picked]


def _from_slice(selector: slice, names: Sequence[Any] | None, n_columns: int) -> list[int]:
    ends = [end for end in (selector.start, selector.stop) if end is not None]
    if not any(isinstance(end, str) for end in ends):
        if not all(isinstance(end, int | np.integer) for end in ends):
            raise _not_a_selector(selector)
        return list(range(n_columns))[selector]
    if not all(isinstance(end, str) for end in ends):
        raise _not_a_selector(selector)
    start = 0 if selector.start is None else _position(selector.start, names)
    stop = n_columns if selector.stop is None else _position(selector.stop, names) + 1
    if selector.step not in (1, None):
        raise NotImplementedError("A slice of column names cannot have a step.")
    return list(range(start, stop))


# Columns that make up modalities ------------------------------------------------------------------


def select_columns(X: Any, modalities: Mapping[Any, Any]) -> dict[str, list[int]]:
    """Return the positions that each selector of `modalities` picks."""
    if not modalities:
        raise ValueError("`modalities` must name at least one modality; got an empty dict.")
    columns = {}
    for name, selector in modalities.items():
        check_modality_name(name)
        try:
            columns[name] = resolve_columns(X, selector)
        except ValueError as error:
            raise ValueError(f"Modality {name!r}: {error}") from None
        if not columns[name]:
            raise ValueError(
                f"Modality {name!r} selects no columns of X, which has {X.shape[1]} feature(s); "
                "drop it or mend it."
            )
    _refuse_shared(columns, column_names(X))
    return columns


def _refuse_shared(columns: Mapping[str, list[int]], names: list[Any] | None) -> None:
    """Raise when a column is in two modalities: its effect could be booked on either."""
    owner: dict[int, str] = {}
    for modality, positions in columns.items():
        for position in positions:
            if owner.setdefault(position, modality) != modality:
                column = position if names is None else repr(names[position])
                raise ValueError(
                    f"Column {column} is in the modalities {owner[position]!r} and {modality!r}, "
                    "so its effect belongs to neither; give every column to one modality."
                )


def group_by_prefix(X: Any) -> dict[str, list[int]]:
    """Group columns called `<modality>__<feature>`; without any, all are one modality."""
    names = column_names(X) or []
    split = [name.partition("__") if isinstance(name, str) else ("", "", "") for name in names]
    prefixed = [bool(modality and feature) for modality, _, feature in split]
    if not any(prefixed):
        return {NAMELESS: list(range(X.shape[1]))}
    if not all(prefixed):
        raise ValueError(
            f"Some columns of X have a modality prefix ({names[prefixed.index(True)]!r}), others "
            f"do not ({names[prefixed.index(False)]!r}); rename them or pass "
            "modalities={name: columns}."
        )
    groups: dict[str, list[int]] = {}
    for position, (modality, _, _) in enumerate(split):
        groups.setdefault(modality, []).append(position)
    return groups


def take_columns(X: Any, positions: list[int]) -> Any:
    """Return columns of a frame or of a 2-D array, entries untouched."""
    if hasattr(X, "iloc"):
        return X.iloc[:, positions]
    if is_frame(X):
        return nw.from_native(X)[:, positions].to_native()
    first, stop = positions[0], positions[-1] + 1
    if positions == list(range(first, stop)):
        return X[:, first:stop]  # a view: copied once, when it is cast
    return X[:, positions]


def by_top_level(X: pd.DataFrame) -> dict[str, Any]:
    """Split a frame by the first of the two levels of its columns."""
    if X.columns.nlevels != 2:
        raise ValueError(
            f"The columns of X have {X.columns.nlevels} levels, but 2 are needed: modality and "
            "feature."
        )
    top = X.columns.get_level_values(0)
    blocks = {check_modality_name(name): X.loc[:, top == name] for name in dict.fromkeys(top)}
    return {k: v.set_axis(range(v.shape[1]), axis=1) for k, v in blocks.items()}


def columns_of_arrays(X: Any) -> dict[str, Any] | None:
    """Return the columns of a frame in which every cell is an array, list or absent, else None."""
    columns = {name: X[name] for name in column_names(X) or []}
    if not columns or not len(X) or not all(_holds_arrays(column) for column in columns.values()):
        return None
    return columns


def refuse_some_arrays(X: Any) -> None:
    """Raise when the cells of some columns of a frame are arrays, and those of others are not."""
    names = column_names(X) or []
    arrays = [name for name in names if _holds_arrays(X[name])] if len(X) else []
    if arrays:
        other = next(name for name in names if name not in arrays)
        raise ValueError(
            f"Every cell of column {arrays[0]!r} is an array, but not of {other!r}. Pass "
            f"{{{arrays[0]!r}: ..., {other!r}: ...}} as MultimodalData, or say which columns make "
            "up a modality, modalities={name: columns}."
        )


def _holds_arrays(column: Any) -> bool:
    if isinstance(nw.from_native(column, series_only=True).dtype, nw.List | nw.Array):  # polars
        return True
    if column.dtype != object:
        return False
    first = next((cell for cell in column if not _is_absent(cell)), None)
    return isinstance(first, np.ndarray | list | tuple)


def _is_absent(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and np.isnan(cell))


def stack_cells(name: str, cells: NDArray[Any]) -> NDArray[Any]:
    """Stack one array per sample, padding time steps with NaN; None or NaN is an absent sample."""
    arrays = [None if _is_absent(cell) else np.asarray(cell) for cell in cells]
    seen = [array for array in arrays if array is not None]
    if not seen:  # absent from every row, in whatever shape
        return np.full((len(cells), 1), np.nan)
    if any(array.ndim == 0 for array in seen):  # as strings are
        return cells
    ndim = seen[0].ndim
    # Only the first of two axes, time, may differ.
    odd = next((a for a in seen if a.ndim != ndim or _fixed(a) != _fixed(seen[0])), None)
    if odd is not None:
        signals = " A signal of one number per step is (T, 1): signal.reshape(-1, 1)."
        raise ValueError(
            f"Modality {name!r} mixes samples of shapes {seen[0].shape} and {odd.shape}; only the "
            "number of time steps, the first of two axes, may differ."
            + (signals if ndim == odd.ndim == 1 else "")
        )
    shape = seen[0].shape
    if ndim == 2:
        shape = (max(1, *(len(array) for array in seen)), shape[1])
    kind = np.result_type(*{array.dtype for array in seen})
    if kind.kind in "biu":
        kind = np.dtype(np.float64)  # integers have no NaN
    stacked = np.full((len(cells), *shape), np.nan, dtype=kind)
    for row, array in enumerate(arrays):
        if array is not None:
            stacked[(row, slice(len(array)))] = array
    return stacked


def _fixed(array: NDArray[Any]) -> tuple[int, ...]:
    return array.shape[1:] if array.ndim == 2 else array.shape
