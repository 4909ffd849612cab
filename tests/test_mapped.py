"""A store of chunks becomes a file that can be mapped, whole chunks at a time."""

import os
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sklearn_mmfuse import MRORegressor, MultimodalData
from sklearn_mmfuse.preprocessing import _mapped, to_memmap


class Store:
    """What zarr, h5py and dask arrays have in common; it knows what was read."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.chunks = array, array.shape, chunks
        self.read = []

    def __getitem__(self, key):
        rows, columns = key
        self.read.append((rows.start, rows.stop, columns.start, columns.stop))
        return self.array[key]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "text.npy"


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(53, 3, 2))


def of_zarr(array, folder):
    zarr = pytest.importorskip("zarr")
    return zarr.create_array(folder / "store", data=array, chunks=(10, 2, 2))


def of_dask(array, folder):
    dask_array = pytest.importorskip("dask.array")
    return dask_array.from_array(array, chunks=((7, 20, 26), 3, 2))


@pytest.mark.parametrize("store", [of_zarr, of_dask, lambda array, folder: array])
def test_any_array_is_written_as_it_is(array, path, tmp_path, store, monkeypatch):
    monkeypatch.setattr(_mapped, "PIECE", 100)
    mapped = to_memmap(store(array, tmp_path), path)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert mapped.dtype == np.float32
    np.testing.assert_array_equal(mapped, array.astype(np.float32))
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), mapped)


@pytest.mark.parametrize(
    ("chunks", "rows", "columns"),
    [
        (None, [0, 16, 32, 48, 53], [0, 3]),  # 96 of 100 values
        ((10, 3, 2), [0, 10, 20, 30, 40, 50, 53], [0, 3]),
        ((5, 3, 2), [0, 15, 30, 45, 53], [0, 3]),
        ((40, 1, 1), [0, 40, 53], [0, 1, 2, 3]),  # all columns of 40 rows are too many
        ((53, 2, 2), [0, 53], [0, 2, 3]),  # a chunk cannot be read in part
        (((7, 20, 26), (3,), (2,)), [0, 26, 52, 53], [0, 3]),  # dask's
    ],
)
def test_whole_chunks_are_read_once(array, path, chunks, rows, columns, monkeypatch):
    monkeypatch.setattr(_mapped, "PIECE", 100)
    store = Store(array, chunks)
    to_memmap(store, path)
    assert store.read == [(*r, *c) for r, c in product(pairwise(rows), pairwise(columns))]


def test_a_fit_on_the_file_is_that_on_the_array(array, path):
    X = array.reshape(53, 6).astype(np.float32)
    model = MRORegressor(max_epochs=2, random_state=0)
    told = [
        model.fit(MultimodalData(a=block, b=X[:, :2]), X[:, 0]).predict({"a": block, "b": X[:, :2]})
        for block in (X, to_memmap(X, path))
    ]
    np.testing.assert_array_equal(*told)


def test_a_file_is_replaced_only_if_asked(array, path):
    to_memmap(array, path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        to_memmap(array + 1, path)
    after = to_memmap(array + 1, path, overwrite=True)
    np.testing.assert_array_equal(after, (array + 1).astype(np.float32))


@pytest.mark.parametrize("value", [1e300, -1e300])
def test_numbers_that_do_not_fit_leave_nothing_behind(array, path, value):
    array[30, 0, 0] = value
    with pytest.raises(ValueError, match=r"Rows 0 to 52 .* too large for float32.*'float64'"):
        to_memmap(array, path)
    assert list(path.parent.iterdir()) == []
    assert to_memmap(array, path, dtype="float64")[30, 0, 0] == value


def test_absent_rows_and_infinities_are_kept(array, path):
    array[3], array[4, 0, 0] = np.nan, np.inf
    np.testing.assert_array_equal(to_memmap(array, path), array.astype(np.float32))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ([[1.0], [2.0]], "rows of features"),
        ("features.zarr", "rows of features"),
        (np.arange(3.0), "rows of features"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        (np.ones((1, 1, 1, 1, 1)), "rows of features"),
        (np.array([["good"], ["day"]]), "real numbers"),
        (np.array([[1j]]), "real numbers, got an array of complex128"),
        (np.array([["2026-11-22"]], dtype="datetime64[D]"), "real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(block, message, path):
    with pytest.raises(ValueError, match=message):
        to_memmap(block, path)
    assert not path.exists()


@pytest.mark.parametrize("dtype", ["int32", bool, "complex64"])
def test_only_floats_hold_what_is_absent(array, path, dtype):
    with pytest.raises(ValueError, match="NaN for what is absent"):
        to_memmap(array, path, dtype=dtype)


def test_rows_that_dask_has_not_counted_are_refused(array, path):
    lazy = pytest.importorskip("dask.array").from_array(array)
    with pytest.raises(ValueError, match=r"compute_chunk_sizes\(\)"):
        to_memmap(lazy[lazy[:, 0, 0] > 0], path)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_matrix])
def test_sparse_rows_become_dense(array, path, kind):
    block = array[:, 0] * (array[:, 0] > 0)
    np.testing.assert_array_equal(to_memmap(kind(block), path), block.astype(np.float32))


def test_a_data_frame_is_written(array, path):
    frame = pd.DataFrame(array[:, 0], columns=["pitch", "energy"])
    np.testing.assert_array_equal(to_memmap(frame, path), frame.to_numpy(np.float32))


def test_tensors_of_any_precision_are_written(array, path):
    tensor = torch.from_numpy(array).bfloat16().requires_grad_()
    np.testing.assert_array_equal(to_memmap(tensor, path), tensor.detach().float())


@pytest.mark.skipif(os.name != "posix", reason="rights of others")
def test_others_may_read_what_they_may_read_of_any_file(array, path):
    to_memmap(array, path)
    np.save(path.with_name("other.npy"), array)
    assert path.stat().st_mode == path.with_name("other.npy").stat().st_mode
