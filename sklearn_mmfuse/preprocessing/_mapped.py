"""Data larger than memory: from a store of compressed chunks to a file that can be mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from sklearn_mmfuse._columns import is_frame
from sklearn_mmfuse._data import as_block
from sklearn_mmfuse._validation import to_dense

__all__ = ["to_memmap"]

PIECE = 2**22  # values that are in memory at once, if chunks allow it


def to_memmap(
    block: Any,
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = np.float32,
    overwrite: bool = False,
) -> NDArray[Any]:
    """Write a modality to a file, piece by piece, and map that file into memory.

    Estimators read the rows of a batch from a mapped file when its turn comes, so that a modality
    may be larger than memory. Chunks of a zarr or HDF5 store would have to be decompressed for
    every row of it: they are written out once instead.

    Parameters
    ----------
    block : array-like of shape (n, d), (n, T, d) or (n, C, H, W)
        A zarr, h5py or dask array, a sparse one, a tensor, or anything else of numbers that has a
        shape and can be sliced. Whole chunks are read where it names them.
    path : str or path-like
        The `.npy` file to write; `numpy.load(path, mmap_mode="r")` maps it again later.
    dtype : dtype, default=float32
        Of the file. Give it the `dtype` of the estimator: from another, each fit converts
        everything, in memory.
    overwrite : bool, default=False
        Whether to replace a file that is there. Arrays mapped from the old one keep the old one.

    Returns
    -------
    mapped : ndarray of shape (n, d), (n, T, d) or (n, C, H, W)
        The file, mapped read-only.

    Raises
    ------
    FileExistsError
        If there is such a file and `overwrite` is False.
    ValueError
        If what is given is no such array, `dtype` is not floating, or numbers are too large for
        it. Nothing is left behind then.

    Notes
    -----
    scikit-learn's cross-validation copies the training rows of a fold into memory; so does
    `MultimodalSearchCV`. A single `fit` or `predict` does not.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from sklearn_mmfuse import MultimodalData
    >>> from sklearn_mmfuse.preprocessing import to_memmap
    >>> stored = np.ones((6, 4))  # or zarr.open("features.zarr")["text"]
    >>> text = to_memmap(stored, Path(mkdtemp()) / "text.npy")
    >>> MultimodalData(text=text)
    <MultimodalData of 6 samples: text (4,) float32>
    """
    path, dtype = Path(path), np.dtype(dtype)
    if sparse.issparse(block) or is_frame(block):
        block = as_block("X", block)
    _check(block, dtype)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} is there already: map it with numpy.load(path, mmap_mode='r'), or write it "
            "anew with overwrite=True."
        )
    # Beside the file, so that it can take its place at once; never half of it under its name.
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        _write(block, unfinished, dtype)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    mapped: NDArray[Any] = np.load(path, mmap_mode="r")
    return mapped


def _check(block: Any, dtype: np.dtype[Any]) -> None:
    """Raise unless this is an array of numbers in rows, to be written as such."""
    shape = getattr(block, "shape", ())
    if any(size != size for size in shape):
        raise ValueError(
            "The number of rows is not known before they are computed; call compute_chunk_sizes()."
        )
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise ValueError(
            "A modality is rows of features, (n, d), (n, T, d) or (n, C, H, W), in an array; got "
            f"{type(block).__name__} of shape {tuple(shape)}."
        )
    if dtype.kind != "f":
        raise ValueError(
            f"dtype is {dtype}, but estimators read float32 or float64, and only these have NaN "
            "for what is absent."
        )
    # A tensor's dtype is none of numpy's, and is told by its rows.
    given = getattr(block, "dtype", None)
    if isinstance(given, np.dtype) and given.kind not in "biuf":
        raise ValueError(f"Rows of features are real numbers, got an array of {given}.")


def _write(block: Any, path: Path, dtype: np.dtype[Any]) -> None:
    file = open_memmap(path, mode="w+", dtype=dtype, shape=tuple(map(int, block.shape)))
    for rows, columns in _pieces(block):
        try:
            with np.errstate(over="raise"):
                file[rows, columns] = to_dense("", block[rows, columns])
        except FloatingPointError:
            raise ValueError(
                f"Rows {rows.start} to {rows.stop - 1} hold numbers too large for {dtype}; scale "
                "them, or pass dtype='float64'."
            ) from None
    file.flush()


def _pieces(block: Any) -> Iterator[tuple[slice, slice]]:
    """Yield what to read at once: as many whole chunks as `PIECE` holds, and at least one.

    All columns of some rows, unless the chunks of these rows are more than that.
    """
    (n, n_columns), rest = block.shape[:2], int(np.prod(block.shape[2:]))
    # zarr and h5py name the size of a chunk, dask those of each; h5py has None for no chunks.
    chunks = getattr(block, "chunks", None) or (1, n_columns)
    in_chunk = [int(np.max(sizes)) for sizes in chunks[:2]]
    columns = _whole(in_chunk[1], PIECE // max(in_chunk[0] * rest, 1), n_columns)
    rows = _whole(in_chunk[0], PIECE // max(columns * rest, 1), n)
    for start, first in product(range(0, n, rows), range(0, n_columns, columns)):
        yield slice(start, min(start + rows, n)), slice(first, min(first + columns, n_columns))


def _whole(in_chunk: int, wanted: int, there: int) -> int:
    """Return how many of an axis to read: whole chunks, no more than wanted but at least one."""
    return min(max(wanted // in_chunk, 1) * in_chunk, there)
