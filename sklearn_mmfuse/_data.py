"""The container that carries modalities through scikit-learn: named arrays sharing their rows."""

from __future__ import annotations

import sys
from collections.abc import (
    Collection,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from types import ModuleType
from typing import Any, NoReturn, Self

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import check_array

__all__ = [
    "MultimodalData",
    "as_block",
    "check_modality_name",
    "check_rows_beside",
    "feature_names",
    "row_labels",
    "trailing_shape",
    "without_mask",
]

Block = Any  # ndarray, csr or torch.Tensor


class MultimodalData:
    """Several arrays, one per modality, that share their rows.

    It behaves like a data frame with one column per modality: scikit-learn's splitters, searches
    and pipelines can slice its rows, which they cannot do with a dict.

    Parameters
    ----------
    mapping : mapping of str to array-like, optional
        The modalities: feature vectors (n, d), sequences (n, T, d), images (n, C, H, W), a list of
        n sequences of unequal lengths (T_i, d), or n texts. Sparse arrays and tensors are kept.
    **named : array-like
        Further modalities.

    Attributes
    ----------
    shape : tuple of int
        The numbers of samples and of modalities.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse import MultimodalData
    >>> X = MultimodalData(text=np.ones((4, 5)), audio=np.zeros((4, 10, 3)))
    >>> X
    <MultimodalData of 4 samples: text (5,) float64, audio (10, 3) float64>
    >>> X[[0, 2]].shape
    (2, 2)
    >>> X["audio"].shape
    (4, 10, 3)
    """

    # No `iloc`: skorch would take the container for a DataFrame. Not a Mapping either: `len` is
    # the number of samples, as in a DataFrame.
    ndim = 2
    device = "cpu"

    def __init__(self, mapping: Any = None, /, **named: Any) -> None:
        given = {} if mapping is None else mapping
        if not isinstance(given, Mapping | MultimodalData):
            raise TypeError(
                f"MultimodalData takes a mapping from names to arrays, got "
                f"{type(given).__name__}; write MultimodalData({{'text': ..., 'audio': ...}})."
            )
        if twice := [name for name in named if name in given]:
            raise ValueError(f"Modality {twice[0]!r} is given twice.")
        blocks = dict(given.items()) | named
        self._blocks = {check_modality_name(k): as_block(k, v) for k, v in blocks.items()}
        _check_lengths(self._blocks)
        _check_row_labels(blocks)
        self._feature_names = feature_names(given) | feature_names(named)

    # What scikit-learn reads ----------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of samples and of modalities."""
        return len(self), len(self._blocks)

    def __len__(self) -> int:
        return int(next(iter(self._blocks.values())).shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError(
            "MultimodalData is not one array, so this operation cannot read it; pass one modality, "
            f"X[{next(iter(self._blocks))!r}], or all of them side by side, X.to_numpy(). (A "
            "ModalityColumnTransformer picks one by its name, and several by a list of names.)"
        )

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        return np  # with array_api_dispatch=True, rows are then picked by `take`

    def take(self, indices: Any, axis: int = 0, out: None = None, mode: str = "raise") -> Any:
        """Return rows (`axis=0`) or modalities (`axis=1`); `out` and `mode` are `numpy.take`'s.

        Parameters
        ----------
        indices : int or array-like of int
            Positions.
        axis : {0, 1}, default=0
            What the positions count.
        out, mode : object
            Ignored.

        Returns
        -------
        part : MultimodalData, dict or array
            As `X[indices]` or `X[:, indices]`.
        """
        return self[indices] if axis == 0 else self[:, indices]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._block(key)
        if isinstance(key, tuple):
            return self._both_axes(key)
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            return {name: block[key] for name, block in self._blocks.items()}
        if _names_modalities(key):
            return self._like({name: self._block(name) for name in key})
        rows = _row_key(key, len(self))
        return self._like({name: block[rows] for name, block in self._blocks.items()})

    def _both_axes(self, key: tuple[Any, ...]) -> Any:
        # scikit-learn asks for rows by `X[rows, ...]` and for columns by `X[:, columns]`.
        if len(key) != 2:
            raise IndexError(f"MultimodalData has two axes, got {len(key)} indices.")
        rows, columns = key
        part = self if isinstance(rows, slice) and rows == slice(None) else self[rows]
        if columns is Ellipsis:
            return part
        if not isinstance(columns, str) and not _names_modalities(columns):
            # A scalar picks a name, anything else a list of them.
            columns = np.array(list(self._blocks), dtype=object)[columns]
        if isinstance(part, dict):  # one sample
            return part[columns] if isinstance(columns, str) else {k: part[k] for k in columns}
        return part[columns]

    def _block(self, name: Any) -> Block:
        if name not in self._blocks:
            raise KeyError(f"There is no modality {name!r}, only {list(self._blocks)}.")
        return self._blocks[name]

    def _like(self, blocks: dict[str, Block]) -> Self:
        # Parts of checked blocks need no second check.
        new = object.__new__(type(self))
        new._blocks = blocks
        new._feature_names = {k: v for k, v in self._feature_names.items() if k in blocks}
        return new

    @property
    def feature_names(self) -> dict[str, tuple[Any, ...]]:
        """The columns of the modalities that were given as data frames."""
        return dict(self._feature_names)

    # What a mapping has --------------------------------------------------------------------------

    def keys(self) -> KeysView[str]:
        """Return the names of the modalities."""
        return self._blocks.keys()

    def values(self) -> ValuesView[Block]:
        """Return the blocks."""
        return self._blocks.values()

    def items(self) -> ItemsView[str, Block]:
        """Return the pairs of name and block."""
        return self._blocks.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._blocks

    # New containers ------------------------------------------------------------------------------

    def assign(self, mapping: Any = None, /, **named: Any) -> Self:
        """Return a container in which these modalities are added or replaced.

        Parameters
        ----------
        mapping : mapping of str to array-like, optional
            The modalities.
        **named : array-like
            Further modalities.

        Returns
        -------
        new : MultimodalData
            The other blocks are shared, not copied.
        """
        given = ({} if mapping is None else dict(mapping.items())) | named
        new = type(self)(self._blocks | given)
        kept = {k: v for k, v in self._feature_names.items() if k not in given}
        passed = {k: v for k, v in feature_names(mapping).items() if k not in named}
        new._feature_names = kept | passed | new._feature_names
        return new

    def drop(self, names: str | Sequence[str]) -> Self:
        """Return a container without these modalities.

        Parameters
        ----------
        names : str or sequence of str
            The modalities to leave out.

        Returns
        -------
        new : MultimodalData
            The other blocks are shared, not copied.
        """
        dropped = [names] if isinstance(names, str) else list(names)
        for name in dropped:
            self._block(name)
        left = {k: v for k, v in self._blocks.items() if k not in dropped}
        _check_lengths(left)
        return self._like(left)

    def to_numpy(self) -> NDArray[Any]:
        """Return all modalities side by side, sequences and images flattened: early fusion.

        Returns
        -------
        array : ndarray of shape (n_samples, n_features)
            Always dense.
        """
        flat = []
        for name, block in self._blocks.items():
            array = _dense(block)
            if array.ndim == 1:
                raise ValueError(
                    f"Modality {name!r} holds texts, numbers or sequences of unequal lengths, not "
                    "feature vectors; encode or pad it first."
                )
            flat.append(array.reshape(len(array), -1))
        return np.concatenate(flat, axis=1)

    @classmethod
    def concat(cls, parts: Iterable[MultimodalData]) -> Self:
        """Return the rows of all parts, one below the other.

        Parameters
        ----------
        parts : iterable of MultimodalData
            Containers with the same modalities, in any order, of the same columns.

        Returns
        -------
        whole : MultimodalData
            The modalities in the order of the first part.

        Examples
        --------
        >>> from sklearn_mmfuse import MultimodalData
        >>> X = MultimodalData(text=[[1.0], [2.0]], audio=[[3.0], [4.0]])
        >>> MultimodalData.concat([X, X[[0]]])["text"].ravel()
        array([1., 2., 1.])
        """
        rows = list(parts)
        if not rows:
            raise ValueError("There is nothing to concatenate.")
        columns: dict[str, tuple[Any, ...]] = {}
        for part in rows:
            if set(part) != set(rows[0]):
                raise ValueError(f"Modalities differ: {list(rows[0])} and {list(part)}.")
            _check_same_columns(columns, part.feature_names)
            columns |= part.feature_names
        whole = cls({name: _concat(name, [part[name] for part in rows]) for name in rows[0]})
        whole._feature_names = columns
        return whole

    def __repr__(self) -> str:
        parts = (f"{k} {_describe(v)} {v.dtype}" for k, v in self._blocks.items())
        return f"<MultimodalData of {len(self)} samples: {', '.join(parts)}>"


def check_modality_name(name: Any) -> str:
    """Return `name` if it can name a modality."""
    if not isinstance(name, str) or not name or "__" in name:
        # "__" separates the modality from the feature in the names of columns.
        raise ValueError(
            f"A modality is named by a non-empty string without '__', got {name!r}; rename it."
        )
    return name


def _check_same_columns(
    first: Mapping[str, tuple[Any, ...]], other: Mapping[str, tuple[Any, ...]]
) -> None:
    """Raise where both name the columns of a modality, and not alike."""
    for name in other:
        if first.get(name, other[name]) != other[name]:
            raise ValueError(
                f"The columns of modality {name!r} are {list(first[name])} in one part and "
                f"{list(other[name])} in another; select the same ones, in the same order."
            )


def as_block(name: str, value: Any) -> Block:
    """Return `value` as something with a shape and rows to pick: array, csr or tensor."""
    if sparse.issparse(value):
        block = value.tocsr()
    elif isinstance(value, Mapping | MultimodalData):
        raise TypeError(f"Modality {name!r} is itself a mapping; give it one array.")
    elif hasattr(value, "detach"):  # a torch tensor, told without importing torch
        block = value
    elif nw.dependencies.is_into_dataframe(value):
        block = _frame_to_array(value)
    elif nw.dependencies.is_into_series(value) and _is_nested(value):
        block = _list_to_array(value.to_list())
    elif isinstance(value, list | tuple):
        block = _list_to_array(value)
    else:
        block = np.asarray(without_mask(value))
    if block.ndim == 0:
        raise ValueError(f"Modality {name!r} is a scalar; it needs one row per sample.")
    return block


def trailing_shape(block: Block) -> tuple[int | None, ...]:
    """Return the shape of one sample; None stands for a number of time steps that varies."""
    if block.ndim == 1 and block.dtype == object:
        cells = (cell for cell in block if isinstance(cell, np.ndarray) and cell.ndim > 1)
        first = next(cells, None)
        return () if first is None else (None, *first.shape[1:])
    return tuple(int(size) for size in block.shape[1:])


def _describe(block: Block) -> str:
    return str(trailing_shape(block)).replace("None", "*")


def _check_lengths(blocks: Mapping[str, Block]) -> None:
    if not blocks:
        raise ValueError("MultimodalData needs at least one modality.")
    lengths = {name: int(block.shape[0]) for name, block in blocks.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise ValueError(
            f"All modalities need the same samples, one per row, but {listed}; align them first."
        )


def check_rows_beside(X: Any, **beside: Any) -> None:
    """Raise when what comes beside `X`, such as y, has its rows in another order."""
    modalities = isinstance(X, Mapping) and not isinstance(X, MultimodalData)
    _check_row_labels({**(X if modalities else {"X": X}), **beside}, beside)


def _check_row_labels(values: Mapping[str, Any], beside: Collection[str] = ()) -> None:
    """Raise when pandas objects have the same rows in another order: they would be mixed up."""
    indexes = {
        name: index for name, value in values.items() if (index := row_labels(value)) is not None
    }
    labels = {name: index for name, index in indexes.items() if not _is_default(index)}
    if any(_is_shuffled(index) for index in labels.values()):
        labels = indexes  # numbers from 0 on tell something where others are in another order
    first = next(iter(labels), "")
    for name, index in labels.items():
        if index.equals(labels[first]):
            continue
        shared = int(index.isin(labels[first]).sum())
        if shared:  # labels of their own, such as file names, tell nothing
            in_part = f"for only {shared} of {len(index)} rows"
            how = "in another order" if shared == len(index) else in_part
            what = name if name in beside else f"Modality {name!r}"
            raise ValueError(
                f"{what} has the row labels of {first!r} {how}, and rows are told by their "
                f"position; align them first, {name}.loc[{first}.index], or drop the labels if the "
                "rows belong together, reset_index(drop=True)."
            )


def _is_default(index: pd.Index) -> bool:
    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1


def _is_shuffled(index: pd.Index) -> bool:
    """Whether rows are numbered from 0 on, in another order."""
    numbers = np.arange(len(index))
    return (
        pd.api.types.is_integer_dtype(index.dtype)
        and not np.array_equal(index, numbers)
        and np.array_equal(np.sort(index), numbers)
    )


def row_labels(X: Any) -> pd.Index | None:
    """Return the row labels of `X`, where pandas gives it some."""
    index = getattr(X, "index", None)  # of a list, a method
    return index if isinstance(index, pd.Index) else None


def feature_names(X: Any) -> dict[str, tuple[Any, ...]]:
    """Return the names of the columns of each modality of `X` that names them."""
    if isinstance(X, MultimodalData):
        return X.feature_names
    if isinstance(X, Mapping):
        frames = {k: v for k, v in X.items() if nw.dependencies.is_into_dataframe(v)}
        return {name: tuple(nw.from_native(frame).columns) for name, frame in frames.items()}
    if isinstance(X, pd.DataFrame) and X.columns.nlevels == 2:
        names: dict[str, list[Any]] = {}
        levels = (X.columns.get_level_values(level) for level in (0, 1))
        for modality, feature in zip(*levels, strict=True):
            names.setdefault(modality, []).append(feature)
        return {name: tuple(features) for name, features in names.items()}
    return {}


def _names_modalities(key: Any) -> bool:
    if isinstance(key, slice) or not hasattr(key, "__len__") or len(key) == 0:
        return False
    return all(isinstance(item, str) for item in key)


def _row_key(key: Any, n_rows: int) -> slice | NDArray[np.intp]:
    """Return rows in a form that arrays, sparse matrices and tensors understand alike."""
    if isinstance(key, slice):
        start, stop, step = key.indices(n_rows)
        # Tensors know no negative step.
        return slice(start, stop, step) if step > 0 else np.arange(start, stop, step)
    rows = np.asarray(key.detach().cpu() if hasattr(key, "detach") else key)
    if rows.size == 0 and rows.dtype.kind == "f":
        rows = rows.astype(np.intp)  # an empty list
    if rows.ndim != 1 or rows.dtype.kind not in "iub":
        raise IndexError(
            f"MultimodalData is indexed by names of modalities or by rows (positions, a mask or a "
            f"slice), got {key!r}."
        )
    if rows.dtype.kind != "b":
        return rows.astype(np.intp)
    if len(rows) != n_rows:
        raise IndexError(f"The mask has {len(rows)} entries for {n_rows} samples.")
    return np.flatnonzero(rows)


def _is_nested(series: Any) -> bool:
    return isinstance(nw.from_native(series, series_only=True).dtype, nw.List | nw.Array)


def _frame_to_array(frame: Any) -> NDArray[Any]:
    schema = nw.from_native(frame).schema
    if all(dtype.is_numeric() or dtype == nw.Boolean for dtype in schema.values()):
        # check_array turns missing values of nullable columns into NaN.
        return check_array(frame, ensure_all_finite=False, ensure_min_samples=0)
    array = np.asarray(frame)
    # A single column of arrays is one ragged modality.
    holds_arrays = array.shape[1] == 1 and any(
        isinstance(cell, np.ndarray) for cell in array[:1, 0]
    )
    return array[:, 0] if holds_arrays else array


def without_mask(value: Any) -> Any:
    """Return NaN, which is what missing values are here, for the masked numbers of an array."""
    if not isinstance(value, np.ma.MaskedArray) or value.dtype.kind not in "biuf":
        return value
    return np.ma.filled(value.astype(np.result_type(value.dtype, np.float32)), np.nan)


def _list_to_array(values: Sequence[Any]) -> NDArray[Any]:
    if any(isinstance(value, str) for value in values):
        return np.asarray(values, dtype=object)  # a fixed-width array is as wide as the longest
    items = [v.detach().cpu().numpy() if hasattr(v, "detach") else without_mask(v) for v in values]
    try:
        return np.asarray(items)
    except ValueError:  # unequal lengths
        ragged = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):  # a plain assignment would broadcast
            ragged[i] = None if item is None else np.asarray(item)
        return ragged


def _dense(block: Block) -> NDArray[Any]:
    if sparse.issparse(block):
        return np.asarray(block.toarray())
    if hasattr(block, "detach"):
        return np.asarray(block.detach().cpu())
    return np.asarray(block)


def pad_steps(blocks: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return sequences `(n, T, d)` of different blocks, padded (NaN) to the longest.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse._data import pad_steps
    >>> [block.shape for block in pad_steps([np.zeros((2, 5, 3)), np.zeros((4, 7, 3))])]
    [(2, 7, 3), (4, 7, 3)]
    """
    n_steps = {block.shape[1] for block in blocks if block.ndim == 3}
    if len(n_steps) < 2:
        return list(blocks)
    return [
        np.pad(
            block.astype(np.result_type(block, np.float32), copy=False),
            [(0, 0), (0, max(n_steps) - block.shape[1]), (0, 0)],
            constant_values=np.nan,
        )
        if block.ndim == 3
        else block
        for block in blocks
    ]


def _concat(name: str, blocks: list[Block]) -> Block:
    try:
        if all(sparse.issparse(block) for block in blocks):
            return sparse.vstack(blocks, format="csr")
        if all(hasattr(block, "detach") for block in blocks):
            return sys.modules["torch"].cat(blocks)
        return np.concatenate(pad_steps([_dense(block) for block in blocks]))
    except (ValueError, RuntimeError) as error:
        shapes = ", ".join(str(tuple(block.shape)) for block in blocks)
        raise ValueError(f"Parts of modality {name!r} do not fit together: {shapes}.") from error
