"""Any predictor as a function of modalities whose rows can be combined freely."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from sklearn_mmfuse._columns import (
    NAMELESS,
    by_top_level,
    column_names,
    columns_of_arrays,
    group_by_prefix,
    is_frame,
    select_columns,
)
from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._effects import Pool
from sklearn_mmfuse._validation import Missing, check_modalities

__all__ = [
    "Combinable",
    "Predictor",
    "as_predictor",
    "combinable",
    "is_ours",
    "last_step",
    "with_decompose",
]

FloatArray = NDArray[np.float64]
METHODS = ["auto", "decision_function", "predict_proba", "predict"]
Rows = Mapping[str, NDArray[np.intp]]


def is_ours(estimator: Any) -> bool:
    """Whether an estimator, maybe not yet fitted, decomposes its predictions by modalities."""
    return hasattr(estimator, "decompose") and hasattr(estimator, "modalities")


def last_step(estimator: Any, *data: Any) -> tuple[Any, ...]:
    """Return the last step of a pipeline and what reaches it; anything else as it is.

    Only where that step is one of ours: the modalities are then those that it was fitted on.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)  # of a search
    if not isinstance(estimator, Pipeline) or not hasattr(estimator[-1], "decompose"):
        return estimator, *data
    before = estimator[:-1]
    through = [X if X is None or not len(before) else before.transform(X) for X in data]
    return estimator[-1], *through


def with_decompose(estimator: Any, decompose: Callable[..., Any]) -> Any:
    """Return a copy of one of ours that decomposes otherwise: its predictions all go by that."""
    changed = copy.copy(estimator)
    changed.decompose = decompose
    return changed


# Data whose modalities can be taken from different rows ------------------------------------------


@dataclass(frozen=True)
class Combinable:
    """Rows of which each modality can be chosen on its own.

    Parameters
    ----------
    names : list of str
        The modalities.
    pool : Pool
        Which rows are to be explained and which are background.
    take : callable
        From rows per modality to data in the form that the predictor reads.
    """

    names: list[str]
    pool: Pool
    take: Callable[[Rows], Any]


def combinable(
    predictor: Any, X: Any, background: Any, modalities: Any, *, gaps: bool = False
) -> Combinable:
    """Return `X`, and the background behind it, with modalities to be combined.

    With `gaps`, rows may lack modalities that an estimator of ours can do without.

    Raises
    ------
    ValueError
        When there are fewer than two modalities, or the background has others.
    """
    if is_ours(predictor):
        missing: Missing = predictor._what_nan_means() if gaps else "error"
        data = [
            None if rows is None else _checked(predictor, rows, missing) for rows in (X, background)
        ]
        X, background = data
    if sparse.issparse(X):
        raise TypeError(
            "Sparse data cannot be divided into modalities; pass MultimodalData of sparse blocks, "
            "or X.toarray() with modalities={name: columns}."
        )
    make = _of_blocks if isinstance(X, Mapping | MultimodalData) else _of_columns
    names, stacked, take = make(X, background, modalities)
    if len(names) < 2:
        raise ValueError(
            f"X has one modality, {names[0]!r}: effects of modalities need at least two. Name "
            "them: MultimodalData, columns '<modality>__<feature>', or modalities={name: columns}."
        )
    n_rows = len(X) if not isinstance(X, Mapping) else len(MultimodalData(X))
    if n_rows < 1 or (stacked - n_rows if background is not None else n_rows) < 1:
        raise ValueError("X and the background need at least one row each.")
    pool = Pool(n_rows, None if background is None else stacked - n_rows)
    return Combinable(names, pool, take)


def _checked(estimator: Any, X: Any, missing: Missing) -> MultimodalData:
    dtype = np.dtype(getattr(estimator, "dtype", "float64"))
    return MultimodalData(check_modalities(estimator, X, reset=False, dtype=dtype, missing=missing))


def _of_blocks(X: Any, background: Any, modalities: Any) -> tuple[list[str], int, Any]:
    if isinstance(modalities, Mapping):
        raise ValueError(
            "modalities={name: columns} is for arrays and frames that reach the model as they are; "
            "here X, or what a pipeline makes of it, names its modalities itself."
        )
    data = MultimodalData(X)
    if background is not None:
        if not isinstance(background, Mapping | MultimodalData):
            raise TypeError(
                f"background must have the form of X, {type(X).__name__}; got "
                f"{type(background).__name__}."
            )
        _refuse_others(list(data), list(background))
        data = MultimodalData.concat([data, MultimodalData(background)])

    def take(rows: Rows) -> Any:
        combined = MultimodalData({name: block[rows[name]] for name, block in data.items()})
        return dict(combined.items()) if isinstance(X, Mapping) else combined

    return list(data), len(data), take


def _refuse_others(names: list[str], found: list[str]) -> None:
    if set(names) != set(found):
        raise ValueError(f"background has the modalities {found}, but X has {names}.")


def _of_columns(X: Any, background: Any, modalities: Any) -> tuple[list[str], int, Any]:
    is_array = not is_frame(X) and not hasattr(X, "detach")
    data = np.asarray(X) if is_array else X
    if is_array and data.ndim != 2:
        raise ValueError(
            f"X without names must be 2-D; got shape {data.shape}. Pass MultimodalData."
        )
    columns = _columns(data, modalities)
    taken = [position for positions in columns.values() for position in positions]
    if len(set(taken)) < len(taken):
        raise ValueError("modalities= names a column twice; give every column to one modality.")
    if covered := data.shape[1] - len(taken):
        raise ValueError(
            f"{covered} of the {data.shape[1]} columns of X belong to no modality; name them in "
            "modalities={name: columns}, or drop them."
        )
    if background is not None:
        behind = np.asarray(background) if is_array and not is_frame(background) else background
        same = behind.shape[1:] == data.shape[1:] and type(behind) is type(data)
        if not same or set(column_names(behind) or []) != set(column_names(data) or []):
            raise ValueError(
                f"background must have the columns of X, {type(data).__name__} of shape "
                f"{tuple(data.shape)}; got {type(background).__name__} of shape "
                f"{tuple(behind.shape)}."
            )
        data = _below(data, behind)
    order = np.argsort(np.concatenate(list(columns.values())))

    def take(rows: Rows) -> Any:
        return _beside([_cells(data, rows[name], at) for name, at in columns.items()], order)

    return list(columns), len(data), take


def _columns(X: Any, modalities: Any) -> dict[str, list[int]]:
    if isinstance(modalities, Mapping):
        return select_columns(X, modalities)
    if isinstance(X, pd.DataFrame) and isinstance(X.columns, pd.MultiIndex):
        by_top_level(X.iloc[:1])  # refuses levels and names that `fit` would refuse
        top = X.columns.get_level_values(0)
        return {name: np.flatnonzero(top == name).tolist() for name in dict.fromkeys(top)}
    if is_frame(X) and (cells := columns_of_arrays(X)) is not None:
        return {name: [position] for position, name in enumerate(cells)}
    columns = group_by_prefix(X)
    if list(columns) == [NAMELESS]:
        raise ValueError(
            "X does not name its modalities: pass MultimodalData or a dict, name the columns "
            "'<modality>__<feature>', or set modalities={name: columns}."
        )
    return columns


def _below(X: Any, behind: Any) -> Any:
    if isinstance(X, np.ndarray):
        return np.concatenate([X, behind])
    if hasattr(X, "detach"):
        return sys.modules["torch"].cat([X, behind])
    if isinstance(X, pd.DataFrame):
        return _concat_frames(X, behind[list(X.columns)])
    rows, others = nw.from_native(X), nw.from_native(behind)
    others = others.select([nw.col(name).cast(kind) for name, kind in rows.schema.items()])
    return nw.concat([rows, others]).to_native()


def _concat_frames(X: pd.DataFrame, behind: pd.DataFrame) -> pd.DataFrame:
    """Concatenate; columns of categories stay so although a part may lack some."""
    X, behind = X.copy(deep=False), behind.copy(deep=False)
    for name, kind in X.dtypes.items():
        if isinstance(kind, pd.CategoricalDtype):
            union = union_categoricals([X[name], behind[name]], ignore_order=True).categories
            X[name], behind[name] = (part[name].cat.set_categories(union) for part in (X, behind))
    return pd.concat([X, behind], ignore_index=True)


def _cells(X: Any, rows: NDArray[np.intp], columns: list[int]) -> Any:
    if isinstance(X, np.ndarray) or hasattr(X, "detach"):
        return X[rows][:, columns]
    if isinstance(X, pd.DataFrame):
        return X.iloc[rows, columns].reset_index(drop=True)
    return nw.from_native(X)[rows.tolist(), columns]


def _beside(parts: list[Any], order: NDArray[np.intp]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=1)[:, order]
    if hasattr(parts[0], "detach"):
        return sys.modules["torch"].cat(parts, dim=1)[:, order.tolist()]
    if isinstance(parts[0], pd.DataFrame):
        return pd.concat(parts, axis=1).iloc[:, order]
    return nw.concat(parts, how="horizontal")[:, order.tolist()].to_native()


# What a predictor says ---------------------------------------------------------------------------


class Predictor:
    """A predictor on its raw scale: arrays (k, n_outputs), checked.

    Parameters
    ----------
    respond : callable
        From data to numbers.
    link : str
        What turns the raw prediction into the reported one.
    outputs : list of str or None
        Names, where they are known before the first prediction.
    """

    def __init__(
        self, respond: Callable[[Any], Any], link: str = "identity", outputs: Any = None
    ) -> None:
        self.respond = respond
        self.link = link
        self.outputs = outputs
        self._n_outputs: int | None = None

    def __call__(self, X: Any, n_rows: int) -> FloatArray:
        """Return the raw predictions for `X`, which has `n_rows` rows."""
        given = self.respond(X)
        # Through float64: numpy has no bfloat16.
        given = given.detach().cpu().double() if hasattr(given, "detach") else given
        values = np.asarray(given)
        if values.dtype == object:
            values = _as_numbers(values)
        if values.ndim not in (1, 2) or len(values) != n_rows or values.dtype.kind not in "biuf":
            raise ValueError(
                f"The predictor returned {values.dtype} of shape {values.shape} for {n_rows} rows; "
                "numbers of shape (n,) or (n, n_outputs) are needed."
            )
        values = values.reshape(n_rows, -1).astype(np.float64)
        expected = self._n_outputs = self._n_outputs or values.shape[1]
        if values.shape[1] != expected:
            raise ValueError(
                f"The predictor returned {values.shape[1]} outputs, but {expected} before; it must "
                "return as many for any rows."
            )
        if not np.isfinite(values).all():
            raise ValueError(
                "The predictor returned NaN or infinity for a combination of modalities."
            )
        return values

    def output_names(self) -> list[str]:
        """Return a name per output; to be called after a prediction."""
        n_outputs = self._n_outputs or 1
        names = self.outputs if self.outputs is not None else []
        if n_outputs == 1 and len(names) == 2:
            return [str(names[1])]
        if len(names) == n_outputs:
            return [str(name) for name in names]
        return ["y"] if n_outputs == 1 else [f"y{i}" for i in range(n_outputs)]


def _as_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Return objects as numbers if they are."""
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        return values


def as_predictor(predictor: Any, response_method: str) -> Predictor:
    """Return what is explained of a predictor.

    Raises
    ------
    TypeError
        When it can neither be called nor predict.
    """
    if is_ours(predictor) and response_method == "auto":
        names, link = predictor._output_names(), predictor._link
        return Predictor(lambda X: predictor.decompose(X, purify=False).sum(), link, names)
    if response_method not in METHODS:
        raise ValueError(f"response_method must be one of {METHODS}; got {response_method!r}.")
    methods = [response_method]
    if response_method == "auto":
        methods = ["predict"]
        if hasattr(predictor, "__sklearn_tags__") and is_classifier(predictor):
            methods = ["decision_function", "predict_proba", "predict"]
    for method in methods:
        if hasattr(predictor, method):
            ovo = getattr(predictor, "decision_function_shape", None) == "ovo"
            named = method == "predict_proba" or (method == "decision_function" and not ovo)
            classes = getattr(predictor, "classes_", None) if named else None
            return Predictor(getattr(predictor, method), outputs=classes)
    if callable(predictor) and response_method == "auto":
        return Predictor(predictor)
    raise TypeError(
        f"{type(predictor).__name__} has no {' or '.join(methods)}; pass a fitted estimator or a "
        "function from data to numbers."
    )
