"""The one place where any accepted `X` becomes named float arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn import config_context
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_mmfuse._columns import (
    NAMELESS,
    by_top_level,
    columns_of_arrays,
    group_by_prefix,
    is_frame,
    refuse_some_arrays,
    select_columns,
    shortened,
    stack_cells,
    take_columns,
)
from sklearn_mmfuse._data import MultimodalData, feature_names, without_mask
from sklearn_mmfuse._warnings import warn_user

__all__ = ["check_modalities", "to_dense"]

FloatArray = NDArray[np.floating[Any]]
Blocks = dict[str, FloatArray]
Missing = Literal["error", "mask", "allow"]


@dataclass(frozen=True)
class _Found:
    """The modalities of `X`, not yet numbers; `columns` when they are columns of a 2-D `X`.

    `seen` are the names of those that are there, picked or not.
    """

    blocks: dict[str, Any]
    X: Any
    columns: dict[str, list[int]] | None = None
    seen: Collection[str] = ()


def check_modalities(
    estimator: Any, X: Any, *, reset: bool, dtype: Any, missing: Missing = "error"
) -> Blocks:
    """Return the modalities of `X` as float arrays, in the order of `fit`.

    Parameters
    ----------
    estimator : estimator
        Its parameter `modalities` says what to pick. With `reset`, what `X` looks like is recorded
        on it once every check has passed.
    X : MultimodalData, mapping, data frame or array
        The samples.
    reset : bool
        True in `fit`; else `X` must look as it did there.
    dtype : dtype
        Of the arrays.
    missing : {"error", "mask", "allow"}, default="error"
        What NaN does, but for time steps that are padding (all NaN): an error; "mask" takes rows
        that are NaN as a whole for absent, and so modalities that a later `X` leaves out; nothing.

    Returns
    -------
    blocks : dict of str to ndarray
        C-contiguous (n, d), (n, T, d) or (n, C, H, W); they may share memory with `X`.
    """
    # Under array-API dispatch scikit-learn would hand tensors back.
    with config_context(array_api_dispatch=False):
        found = _find_in_fit(estimator, X) if reset else _find_again(estimator, X, missing)
        blocks = {
            name: _check_missing(name, _to_float(estimator, name, block, dtype, reset), missing)
            for name, block in found.blocks.items()
        }
        if reset:
            _record(estimator, found, blocks)
        else:
            blocks = {name: _in_shape(estimator, name, block) for name, block in blocks.items()}
        return blocks


# Which modalities X has --------------------------------------------------------------------------


def _find_in_fit(estimator: Any, X: Any) -> _Found:
    modalities = estimator.modalities
    named = _named_blocks(X)
    if named is not None and (empty := [name for name, block in named.items() if block is None]):
        raise ValueError(
            f"Modality {empty[0]!r} is None, but fit needs rows that have it; leave it out of X."
        )
    if named is not None and isinstance(modalities, Mapping):
        raise ValueError(
            "X names its modalities itself, so `modalities` can only be None or a list of names; "
            "a dict of columns is for arrays and data frames."
        )
    if named is not None:
        return _Found(_pick(named, modalities), X, seen=named)
    X = _check_2d(estimator, X, min_samples=2)
    if isinstance(modalities, Mapping):
        return _by_columns(X, select_columns(X, modalities))
    columns = group_by_prefix(X)
    if modalities is None and list(columns) == [NAMELESS]:
        refuse_some_arrays(X)
        _warn_nameless(estimator)
    return _by_columns(X, _pick(columns, modalities), seen=columns)


def _find_again(estimator: Any, X: Any, missing: Missing) -> _Found:
    """Find the modalities of `fit`, although `X` may now have another form."""
    columns = estimator._modality_columns
    named = _named_blocks(X)
    if named is None and columns is None and is_frame(X):
        named = _by_columns(X, group_by_prefix(X)).blocks
    if named is not None:
        _check_feature_names(estimator, X)
        if missing == "mask":
            named = _fill_in(estimator, named)
        return _Found(_check_names(estimator, named), X)
    name = type(estimator).__name__
    if columns is None:
        raise ValueError(
            f"X is {_kind(X)} without names, but {name} was fitted on the modalities "
            f"{list(estimator.modality_names_in_)}; pass MultimodalData or a dict with these names."
        )
    X = _check_2d(estimator, X, min_samples=1)
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return _by_columns(X, columns)


def _named_blocks(X: Any) -> dict[str, Any] | None:
    """Return the blocks of an `X` that names its modalities by itself, else None."""
    if sparse.issparse(X):  # before Mapping: a dok_array is a dict
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()', or pass "
            "the sparse matrix as one modality of MultimodalData."
        )
    if isinstance(X, MultimodalData):
        return dict(X.items())
    if isinstance(X, Mapping):
        # An entry None is a modality that no row has; `_fill_in` may accept it.
        given = {name: block for name, block in X.items() if block is not None}
        found = dict(MultimodalData(given).items())
        return {name: found.get(name) for name in X}
    if not is_frame(X):
        return None
    if isinstance(X.columns, pd.MultiIndex):
        return by_top_level(X)
    columns = columns_of_arrays(X)
    return None if columns is None else dict(MultimodalData(columns).items())


def _pick(found: dict[str, Any], modalities: Any) -> dict[str, Any]:
    if modalities is None:
        return found
    names = list(modalities)
    if isinstance(modalities, str) or not names or len(set(names)) != len(names):
        raise ValueError(f"`modalities` must be a list of names, each once; got {modalities!r}.")
    if unknown := [name for name in names if name not in found]:
        raise ValueError(
            f"`modalities` names {unknown}, but X has {list(found)}; an array or a data frame "
            "without prefixes needs a dict of columns, modalities={name: columns}."
        )
    return {name: found[name] for name in names}


def _warn_nameless(estimator: Any) -> None:
    warn_user(
        f"{type(estimator).__name__} found no modalities in X and treats its columns as ONE "
        f"modality, {NAMELESS!r}: there is nothing to fuse, and no interaction can be found. Pass "
        "MultimodalData or a dict, name the columns '<modality>__<feature>', or set "
        "modalities={name: columns}.",
    )


def _fill_in(estimator: Any, named: dict[str, Any]) -> dict[str, Any]:
    """Add the modalities that are left out, or None, as absent from every row."""
    given = {name: block for name, block in named.items() if block is not None}
    known = [name for name in estimator.modality_names_in_ if name in given]
    if not known:
        return given  # an error that says which names were expected
    _refuse_misspelt(estimator, given)
    n_rows = MultimodalData(given).shape[0]
    absent = {
        name: absent_block(n_rows, shape, np.float64)
        for name, shape in estimator.modality_shapes_.items()
        if name not in given
    }
    return given | absent


def _refuse_misspelt(estimator: Any, given: Mapping[str, Any]) -> None:
    """Raise when `X` lacks a modality and has one instead that fit has never seen."""
    names = list(estimator.modality_names_in_)
    lacking = [name for name in names if name not in given]
    new = [name for name in given if name not in estimator._modality_names_seen]
    if lacking and new:
        raise ValueError(
            f"X has the modalities {new} that {type(estimator).__name__} was not fitted on, and "
            f"lacks {lacking}; rename or drop them. (What is merely absent needs no substitute.)"
        )


def _check_names(estimator: Any, named: dict[str, Any]) -> dict[str, Any]:
    names = list(estimator.modality_names_in_)
    if list(named) == [NAMELESS] and NAMELESS not in names:
        raise ValueError(
            f"The columns of X name no modalities ('<modality>__<feature>'), but "
            f"{type(estimator).__name__} was fitted on {names}; where a transformer made these, "
            "use what it returns: pipeline[:-1].transform(X)."
        )
    if lacking := [name for name in names if named.get(name) is None]:
        raise ValueError(
            f"X lacks the modalities {lacking} that {type(estimator).__name__} was fitted on; it "
            f"has {list(named)}."
        )
    extra = [name for name in named if name not in names]
    # `modalities=[...]` has left modalities out in fit as well.
    if extra and not isinstance(estimator.modalities, list | tuple):
        raise ValueError(
            f"X has the modalities {extra} that {type(estimator).__name__} was not fitted on; "
            f"drop them or set modalities={names}."
        )
    return {name: named[name] for name in names}


def _check_feature_names(estimator: Any, X: Any) -> None:
    """Raise when the columns of a modality are others than in fit, or in another order."""
    for name, now in feature_names(X).items():
        then = estimator._modality_feature_names.get(name, now)
        numbered = not all(isinstance(feature, str) for feature in then + now)
        # Columns without names are numbered, which tells at most that their order has changed.
        if now == then or (numbered and set(now) != set(then)):
            continue
        new = [feature for feature in now if feature not in then]
        gone = [feature for feature in then if feature not in now]
        if new or gone:
            how = f"has columns that fit has not seen, {shortened(new)}" if new else ""
            how += ", and " if new and gone else ""
            how += f"lacks {shortened(gone)}" if gone else ""
        else:
            how = f"has its columns in another order than in fit, which was {shortened(then)}"
        raise ValueError(
            f"Modality {name!r} {how}; pass the columns that {type(estimator).__name__} was "
            "fitted on, in their order, or an array if names do not matter."
        )


# 2-D data ----------------------------------------------------------------------------------------


def _check_2d(estimator: Any, X: Any, *, min_samples: int) -> Any:
    """Return a frame as it is and anything else as a 2-D array, its entries untouched."""
    if is_frame(X):
        return X
    if _is_list_of(X, str):
        raise ValueError(
            f"X is a list of names or texts, {list(X)[:3]}. A dict sliced by scikit-learn leaves "
            "only its keys: wrap your dict in MultimodalData. Texts must be encoded first."
        )
    if _is_list_of(X, object) and all(len(getattr(item, "shape", ())) > 1 for item in X):
        raise ValueError(
            f"X is a list of {len(X)} arrays, whose meaning is ambiguous; name them: "
            "{'text': array, 'audio': array}."
        )
    if hasattr(X, "detach"):
        X = _tensor_to_numpy(X)
    X = without_mask(X)
    # The entries are converted column by column later: those not selected need not be numbers.
    array = check_array(
        X,
        dtype=None,
        ensure_all_finite=False,
        allow_nd=True,
        ensure_min_samples=min_samples,
        estimator=estimator,
        input_name="X",
    )
    if array.ndim > 2:
        raise ValueError(
            f"Found array with dim {array.ndim}, shape {array.shape}, but X without names must be "
            "2-D; give a sequence or an image a name: {'audio': X}."
        )
    return array


def _is_list_of(X: Any, kind: type) -> bool:
    return isinstance(X, list | tuple) and bool(X) and all(isinstance(item, kind) for item in X)


def _by_columns(X: Any, columns: dict[str, list[int]], seen: Collection[str] = ()) -> _Found:
    blocks = {name: take_columns(X, positions) for name, positions in columns.items()}
    return _Found(blocks, X, columns, seen)


def _kind(X: Any) -> str:
    return "a data frame" if is_frame(X) else "an array"


# From blocks to float arrays ---------------------------------------------------------------------


def _to_float(estimator: Any, name: str, block: Any, dtype: Any, reset: bool) -> FloatArray:
    dense = to_dense(name, block)
    if np.ndim(dense) == 1 and np.asarray(dense).dtype.kind == "f" and np.isnan(dense).all():
        dense = np.reshape(dense, (-1, 1))  # absent from every row, in whatever shape
    if np.ndim(dense) == 1:
        raise ValueError(_not_a_vector(name, dense))
    if _holds_dates(np.asarray(dense)):
        raise ValueError(
            f"Modality {name!r} holds dates or durations, not numbers; say what they are to count, "
            "for instance hours since midnight."
        )
    if np.iscomplexobj(dense):
        raise ValueError(
            f"Modality {name!r}: Complex data not supported; pass real and imaginary parts, or "
            "magnitude and phase, as columns of their own."
        )
    try:
        with np.errstate(over="ignore"):  # an overflow becomes inf, which has a message of its own
            array: FloatArray = check_array(
                dense,
                dtype=dtype,
                order="C",
                allow_nd=True,
                ensure_all_finite=False,
                ensure_min_samples=2 if reset else 1,
                estimator=estimator,
                input_name="X",
            )
    except (TypeError, ValueError) as error:
        hint = ""
        if "could not convert string" in str(error):
            hint = "; encode texts and categories first, in a ModalityColumnTransformer"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"Modality {name!r}: {error}{hint}") from error
    if array.ndim > 4 or 0 in array.shape:
        raise ValueError(
            f"Modality {name!r} has shape {array.shape}, but (n, d), (n, T, d) or (n, C, H, W) is "
            "needed, no size being 0."
        )
    return array


def _holds_dates(array: NDArray[Any]) -> bool:
    if array.dtype != object:
        return array.dtype.kind in "mM"
    return any(isinstance(cell, date | time | timedelta) for cell in array[:1].flat)


def _not_a_vector(name: str, array: NDArray[Any]) -> str:
    if array.dtype.kind in "OUST":
        return (
            f"Modality {name!r} holds texts or objects, not numbers; encode them first, in a "
            "ModalityColumnTransformer."
        )
    return (
        f"Modality {name!r} is 1-dimensional, shape {array.shape}, but one row of features per "
        "sample is needed. Reshape your data: array.reshape(-1, 1) is one feature."
    )


def to_dense(name: str, block: Any) -> Any:
    """Return a frame as it is and any other block as a dense array, ragged sequences padded."""
    if sparse.issparse(block):
        return block.toarray(order="C")
    if hasattr(block, "detach"):
        return _tensor_to_numpy(block)
    if is_frame(block):
        return block
    array = np.asarray(block)
    if array.dtype == object and array.ndim == 1:
        return stack_cells(name, array)
    return array


def _tensor_to_numpy(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # numpy has no such type
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def _check_missing(name: str, block: FloatArray, missing: Missing) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(block.sum()):  # the common case, without a mask as large as the data
            return block
    if infinite := _count_rows(np.isinf(block)):
        raise ValueError(
            f"Input X contains infinity or a value too large for {block.dtype!r}: modality "
            f"{name!r} in {infinite} of {len(block)} rows. Look where it comes from (a division by "
            "0, a logarithm of 0), and cap it, or make it NaN and impute that."
        )
    if missing == "allow":
        return block
    nan = np.isnan(block)
    # The unit that is absent as a whole: a vector, a time step, an image.
    axes = (1, 2, 3) if block.ndim == 4 else (-1,)
    absent, touched = np.asarray(nan.all(axis=axes)), np.asarray(nan.any(axis=axes))
    partly = touched & ~absent
    if absent.ndim == 2:  # padding is no gap, as long as a step is left
        absent = np.asarray(absent.all(axis=1))
    if missing == "mask" and (rows := _count_rows(partly)):
        raise ValueError(
            f"Input X contains NaN: modality {name!r} in part of {rows} of {len(block)} rows. "
            "Impute single features; a modality is absent from a row when it is NaN as a whole."
        )
    if missing == "error" and (rows := _count_rows(absent) + _count_rows(partly)):
        advice = (
            ". Impute it, or drop these rows; only time steps that are NaN as a whole are read, as "
            "padding."
            if partly.any()
            else ", which lack it as a whole, and every row needs every modality here; leave these "
            "rows out."
        )
        raise ValueError(
            f"Input X contains NaN: modality {name!r} in {rows} of {len(block)} rows{advice}"
        )
    return block


def _count_rows(mask: NDArray[np.bool_]) -> int:
    return int(mask.reshape(len(mask), -1).any(axis=1).sum())


# What fit leaves on the estimator ----------------------------------------------------------------


def _sample_shape(block: FloatArray) -> tuple[int | None, ...]:
    # The number of time steps may differ from call to call.
    return (None, block.shape[2]) if block.ndim == 3 else tuple(block.shape[1:])


def _record(estimator: Any, found: _Found, blocks: Blocks) -> None:
    if found.columns is not None:
        # Sets n_features_in_ and feature_names_in_, or deletes the latter.
        validate_data(estimator, found.X, reset=True, skip_check_array=True)
    else:
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        widths = [b.shape[-1] if b.ndim < 4 else np.prod(b.shape[1:]) for b in blocks.values()]
        estimator.n_features_in_ = int(sum(widths))
    estimator.modality_names_in_ = np.array(list(blocks), dtype=object)
    estimator.modality_shapes_ = {name: _sample_shape(block) for name, block in blocks.items()}
    estimator._modality_columns = found.columns
    named = feature_names(found.X) if found.columns is None else {}
    estimator._modality_names_seen = set(found.seen or blocks)
    estimator._modality_feature_names = {k: v for k, v in named.items() if k in blocks}


def _in_shape(estimator: Any, name: str, block: FloatArray) -> FloatArray:
    """Return a block whose samples have the shape of fit; what holds nothing has no shape."""
    shape, expected = _sample_shape(block), estimator.modality_shapes_[name]
    if shape == expected:
        return block
    if np.isnan(block).all():
        return absent_block(len(block), expected, block.dtype)
    raise ValueError(
        f"Modality {name!r} has samples of shape {_shown(shape)}, but "
        f"{type(estimator).__name__} was fitted on {_shown(expected)}."
    )


def absent_block(n_rows: int, shape: tuple[int | None, ...], dtype: Any) -> FloatArray:
    """Return what stands for a modality of samples of this shape that no row has."""
    return np.full((n_rows, *(1 if size is None else size for size in shape)), np.nan, dtype)


def _shown(shape: tuple[int | None, ...]) -> str:
    return str(shape).replace("None", "*")
