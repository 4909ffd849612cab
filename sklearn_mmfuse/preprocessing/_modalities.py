"""From a data frame, or from modalities, to prepared modalities: ColumnTransformer with names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Self

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.compose import ColumnTransformer
from sklearn.utils import Tags, _safe_indexing, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_mmfuse._columns import is_frame, resolve_columns
from sklearn_mmfuse._data import MultimodalData, as_block, trailing_shape
from sklearn_mmfuse._validation import check_modalities, to_dense

__all__ = ["FlattenModalities", "ModalityColumnTransformer", "PerTimestep", "WherePresent"]


class ModalityColumnTransformer(  # type: ignore[call-arg]
    CallbackSupportMixin, ColumnTransformer, auto_wrap_output_keys=None
):
    """A `ColumnTransformer` whose output is a `MultimodalData`: one modality per transformer.

    Blocks stay what their transformers make them (dense or sparse, 2-D or 3-D). The input is a
    data frame or array as usual, or itself a mapping of modalities, whose "columns" are their
    names. Parameters and attributes are those of `sklearn.compose.ColumnTransformer`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_mmfuse import ModalityColumnTransformer
    >>> frame = pd.DataFrame({"review": ["so good", "so bad"], "pitch": [1.0, 3.0]})
    >>> ModalityColumnTransformer([("text", CountVectorizer(), "review"),
    ...                            ("audio", StandardScaler(), ["pitch"])]).fit_transform(frame)
    <MultimodalData of 2 samples: text (3,) int64, audio (1,) float64>
    """

    # scikit-learn's `_hstack` is documented as the hook of subclasses; the other private methods
    # below have had the same names and signatures since 1.5.
    # A passed-through block must not become a frame because of the global `transform_output`.
    _sklearn_output_config: ClassVar[dict[str, str]] = {"transform": "default"}

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> MultimodalData:
        """Fit all transformers and return the prepared modalities.

        Parameters
        ----------
        X : data frame, array, MultimodalData or mapping
            The data.
        y : array-like, optional
            Handed to the transformers.
        **params : dict
            Routed to the transformers.

        Returns
        -------
        modalities : MultimodalData
            One block per transformer that is not dropped.
        """
        X = _as_container(X)
        self._input_modalities = list(X) if isinstance(X, MultimodalData) else None
        self._init_callback_context().call_on_fit_task_begin(estimator=self, X=X, y=y)
        return self._not_empty(super().fit_transform(X, y, **params))

    def transform(self, X: Any, **params: Any) -> MultimodalData:
        """Return the prepared modalities.

        Parameters
        ----------
        X : data frame, array, MultimodalData or mapping
            The data, in the form seen in `fit`.
        **params : dict
            Routed to the transformers.
        """
        check_is_fitted(self)
        return self._not_empty(super().transform(self._as_in_fit(_as_container(X)), **params))

    def _as_in_fit(self, X: Any) -> Any:
        """Return a container with its modalities in the order of `fit`, which the columns count."""
        fitted = self._input_modalities
        if isinstance(X, MultimodalData) != (fitted is not None):
            raise ValueError(
                f"{type(self).__name__} was fitted on "
                f"{f'the modalities {fitted}' if fitted else 'columns'}, but X is "
                f"{type(X).__name__}; pass data of the same kind."
            )
        if fitted is None:
            return X
        if lacking := [name for name in fitted if name not in X]:
            raise ValueError(f"X lacks the modalities {lacking} seen in fit; it has {list(X)}.")
        return X[fitted]

    def _not_empty(self, result: Any) -> MultimodalData:
        if isinstance(result, MultimodalData):
            return result
        raise ValueError(
            f"All transformers of {type(self).__name__} are dropped or select no columns; keep one."
        )

    def set_output(self, *, transform: str | None = None) -> Self:
        """Configure the transformers inside; the result is a `MultimodalData` all the same."""
        steps = [*self.transformers, *getattr(self, "transformers_", [])]
        for transformer in [*(step[1] for step in steps), self.remainder]:
            if hasattr(transformer, "set_output"):
                # A pipeline with a TfidfVectorizer refuses; its output is an array all the same.
                with suppress(ValueError):
                    transformer.set_output(transform=transform)
        return self

    def _names(self, *, fitted: bool = True) -> list[str]:
        steps = self._iter(
            fitted=fitted, column_as_labels=False, skip_drop=True, skip_empty_columns=True
        )
        return [name for name, *_ in steps]

    def _call_func_on_transformers(self, X: Any, y: Any, func: Any, **kwargs: Any) -> list[Any]:
        results = super()._call_func_on_transformers(X, y, func, **kwargs)
        fitting = not results or isinstance(results[0], tuple)
        steps = zip(self._names(fitted=not fitting), results, strict=True)
        if fitting:
            return [(_as_output(name, block), fitted) for name, (block, fitted) in steps]
        return [_as_output(name, block) for name, block in steps]

    def _hstack(self, Xs: list[Any], *, n_samples: int) -> MultimodalData:
        if hasattr(self, "_callback_fit_ctx"):  # the last step of the parent's `fit_transform`
            self._callback_fit_ctx.call_on_fit_task_end(estimator=self)
        blocks: dict[str, Any] = {}
        for name, block in zip(self._names(), Xs, strict=True):
            # Modalities that are passed through together keep their own names.
            part = dict(block.items()) if isinstance(block, MultimodalData) else {name: block}
            if block.shape[0] != n_samples:
                raise ValueError(
                    f"The transformer of {name!r} returned {block.shape[0]} rows for {n_samples} "
                    "samples. One that reads texts wants its column by name, 'answer', and not in "
                    "a list, ['answer']."
                )
            if twice := [key for key in part if key in blocks]:
                raise ValueError(f"Two transformers return the modality {twice[0]!r}; rename one.")
            blocks |= part
        return MultimodalData(blocks)

    def _validate_output(self, result: Any) -> None:
        for name, block in zip(self._names(), result, strict=True):
            if block.ndim < 2:
                raise ValueError(
                    f"The output of the {name!r} transformer must have at least 2 dimensions, "
                    f"(n_samples, n_features); got shape {block.shape}."
                )

    def _record_output_indices(self, Xs: Any) -> None:
        # Features are the last axis, also of sequences.
        super()._record_output_indices([np.empty((0, _width(block))) for block in Xs])

    def _validate_column_callables(self, X: Any) -> None:
        if not isinstance(X, MultimodalData):
            super()._validate_column_callables(X)
            return
        self._columns = []
        self._transformer_to_input_indices = {}
        for name, _, selector in self.transformers:
            columns = selector(X) if callable(selector) else selector
            positions = resolve_columns(X, columns)
            # One name picks the block itself, a list of names a container.
            self._columns.append(positions[0] if np.isscalar(columns) else positions)
            self._transformer_to_input_indices[name] = positions

    def _get_remainder_cols(self, indices: list[int]) -> Any:
        if self._input_modalities is not None:
            return indices
        return super()._get_remainder_cols(indices)

    def _get_feature_name_out_for_transformer(
        self, name: str, trans: Any, feature_names_in: NDArray[Any]
    ) -> Any:
        width = self.output_indices_[name].stop - self.output_indices_[name].start
        names: Any = ()
        if self._input_modalities is None:
            names = super()._get_feature_name_out_for_transformer(name, trans, feature_names_in)
        elif hasattr(trans, "get_feature_names_out"):
            # The features of a modality have no names of their own.
            with suppress(AttributeError, ValueError):
                names = trans.get_feature_names_out()
        # One column of arrays, or a sequence passed through, has more features than names.
        return names if len(names) == width else _default_names(width)


class PerTimestep(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Apply a 2-D transformer to every time step of sequences.

    It is fitted on observed steps only; steps that are NaN throughout are padding and stay NaN.
    Inside a pipeline, unlike scaling beforehand, this leaks nothing between folds.

    Parameters
    ----------
    transformer : transformer
        Sees one row per observed time step.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_mmfuse.preprocessing import PerTimestep
    >>> clips = [np.array([[1.0], [3.0]]), np.array([[5.0]])]  # two steps, and one
    >>> PerTimestep(StandardScaler()).fit_transform(clips).squeeze().round(2)
    array([[-1.22,  0.  ],
           [ 1.22,   nan]])
    """

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformer on all observed time steps.

        Parameters
        ----------
        X : array-like of shape (n, T, d), or n arrays of shape (T_i, d)
            Sequences.
        y : array-like of shape (n,), optional
            Handed to the transformer, repeated for every step of a sample.
        """
        padded, observed = _steps(X)
        if not observed.any():
            raise ValueError("X has no observed time steps, only NaN.")
        # Steps of one sample share its target.
        target = None if y is None else np.asarray(y)[np.nonzero(observed)[0]]
        self.transformer_ = clone(self.transformer).fit(padded[observed], target)
        self.n_features_in_ = padded.shape[2]
        self._n_features_out = _as_dense(self.transformer_.transform(padded[observed][:1])).shape[1]
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Transform every observed time step.

        Parameters
        ----------
        X : array-like of shape (n, T, d), or n arrays of shape (T_i, d)
            Sequences; T need not be that of `fit`.

        Returns
        -------
        X_new : ndarray of shape (n, T, d_new)
            NaN where there is no step.
        """
        check_is_fitted(self)
        padded, observed = _steps(X, n_features=self.n_features_in_)
        if padded.shape[2] != self.n_features_in_:
            raise ValueError(
                f"The time steps of X have {padded.shape[2]} features, but PerTimestep was fitted "
                f"with {self.n_features_in_}."
            )
        new = padded[observed]
        if len(new):  # transformers refuse to see no rows
            new = _as_dense(self.transformer_.transform(new))
        dtype = new.dtype if new.dtype.kind == "f" else np.dtype(np.float64)
        result = np.full((*observed.shape, self._n_features_out), np.nan, dtype=dtype)
        result[observed] = new if len(new) else np.nan
        return result

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: sequences fit into no data frame, but pipelines ask every step."""
        return self

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names that the transformer gives its output."""
        check_is_fitted(self)
        if input_features is not None and len(input_features) != self.n_features_in_:
            input_features = None  # one column of sequences has one name for many features
        names = self.transformer_.get_feature_names_out(input_features)
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


class WherePresent(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Apply a transformer to the rows that have a modality; the others stay absent.

    An imputer alone would fill in modalities that were never recorded, and predictions would be
    explained by them. Here rows that are missing as a whole stay so, and the transformer sees none
    of them.

    Parameters
    ----------
    transformer : transformer
        Sees the rows in which not all features are missing; `make_pipeline(SimpleImputer(),
        StandardScaler())` fills in single features.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.impute import SimpleImputer
    >>> from sklearn_mmfuse.preprocessing import WherePresent
    >>> audio = np.array([[1.0, 2.0], [3.0, np.nan], [np.nan, np.nan]])  # the last has no audio
    >>> WherePresent(SimpleImputer()).fit_transform(audio)
    array([[ 1.,  2.],
           [ 3.,  2.],
           [nan, nan]])
    """

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformer on the rows that have the modality.

        Parameters
        ----------
        X : array-like or data frame of shape (n, d)
            Feature vectors.
        y : array-like of shape (n,), optional
            Handed to the transformer, for the same rows.
        """
        X = self._check(X, reset=True)
        rows = _rows_with_something(X)
        if not len(rows):
            raise ValueError(
                "X is missing from every row, so that there is nothing to fit the transformer on; "
                "leave the modality out."
            )
        target = None if y is None else np.asarray(y)[rows]
        present = _safe_indexing(X, rows)
        self.transformer_ = clone(self.transformer).fit(present, target)
        some = _as_dense(self.transformer_.transform(_safe_indexing(present, [0])))
        self._n_features_out = some.shape[1]
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Transform the rows that have the modality.

        Parameters
        ----------
        X : array-like or data frame of shape (n, d)
            Feature vectors.

        Returns
        -------
        X_new : ndarray of shape (n, d_new)
            NaN in rows that are missing as a whole.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        rows = _rows_with_something(X)
        if not len(rows):  # transformers refuse to see no rows
            return np.full((len(X), self._n_features_out), np.nan)
        new = _as_dense(self.transformer_.transform(_safe_indexing(X, rows)))
        dtype = new.dtype if new.dtype.kind in "fO" else np.dtype(np.float64)
        result = np.full((len(X), new.shape[1]), np.nan, dtype=dtype)
        result[rows] = new
        return result

    def _check(self, X: Any, *, reset: bool) -> Any:
        # The transformer says what it takes for a number.
        checked = X if is_frame(X) else check_array(X, dtype=None, ensure_all_finite="allow-nan")
        validate_data(self, checked, reset=reset, skip_check_array=True)
        return checked

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: the output is an array."""
        return self

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names that the transformer gives its output."""
        check_is_fitted(self)
        return np.asarray(self.transformer_.get_feature_names_out(input_features), dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _rows_with_something(X: Any) -> NDArray[np.intp]:
    cells = nw.from_native(X).to_numpy() if is_frame(X) else X
    return np.flatnonzero(~np.asarray(pd.isna(cells)).all(axis=1))


class FlattenModalities(TransformerMixin, BaseEstimator):
    """Put all modalities side by side in one array: early fusion for any scikit-learn estimator.

    Parameters
    ----------
    modalities : list of str or dict, optional
        Which modalities, in which order; or, for arrays and data frames, the columns of each.

    Attributes
    ----------
    modality_names_in_ : ndarray of str
        The modalities, in the order of their columns.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.preprocessing import FlattenModalities
    >>> flatten = FlattenModalities().fit({"text": np.ones((2, 2)), "audio": np.zeros((2, 1))})
    >>> flatten.get_feature_names_out().tolist()
    ['text__x0', 'text__x1', 'audio__x0']
    >>> flatten.transform({"audio": np.zeros((1, 1)), "text": np.ones((1, 2))})
    array([[1., 1., 0.]])
    """

    def __init__(self, modalities: Any = None) -> None:
        self.modalities = modalities

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the names and sizes of the modalities."""
        blocks = check_modalities(self, X, reset=True, dtype=np.float64, missing="allow")
        self._sizes = {name: block.shape[1:] for name, block in blocks.items()}
        self._n_features_out = sum(int(np.prod(size)) for size in self._sizes.values())
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the modalities side by side, in the order of `fit`.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            The modalities. Sequences are padded with NaN to the longest of `fit`.
        """
        check_is_fitted(self)
        blocks = check_modalities(self, X, reset=False, dtype=np.float64, missing="allow")
        parts = [_pad_to(name, block, self._sizes[name]) for name, block in blocks.items()]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return `<modality>__<feature>`; `audio__t2_x0` is feature 0 of time step 2."""
        check_is_fitted(self)
        names: list[str] = []
        for modality, size in self._sizes.items():
            names += [f"{modality}__{feature}" for feature in self._features(modality, size)]
        return np.array(names, dtype=object)

    def _features(self, modality: str, size: tuple[int, ...]) -> Iterable[str]:
        if len(size) == 2:
            return (f"t{step}_x{i}" for step in range(size[0]) for i in range(size[1]))
        named = self._modality_feature_names.get(modality, ())
        if len(named) == np.prod(size):  # a column may hold vectors or images
            return map(str, named)
        if self._modality_columns is None or not hasattr(self, "feature_names_in_"):
            return _default_names(int(np.prod(size)))
        columns = self.feature_names_in_[self._modality_columns[modality]]
        return (name.removeprefix(f"{modality}__") for name in columns)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


def _as_container(X: Any) -> Any:
    # A dok_array is a dict, too.
    return MultimodalData(X) if isinstance(X, Mapping) and not sparse.issparse(X) else X


def _as_dense(X: Any) -> NDArray[Any]:
    return np.asarray(to_dense("X", X))


def _as_output(name: str, output: Any) -> Any:
    """Return an array, csr matrix or container; a column of arrays, passed through, is padded."""
    if isinstance(output, MultimodalData):
        return output
    block = as_block(name, output)
    if block.ndim == 1:
        block = to_dense(name, block)
    # A column of arrays, of which no row has one, may be one of NaN.
    return block.reshape(-1, 1) if block.ndim == 1 and pd.isna(block).all() else block


def _width(block: Any) -> int:
    parts = block.values() if isinstance(block, MultimodalData) else [block]
    return sum((trailing_shape(part) or (1,))[-1] or 0 for part in parts)


def _default_names(width: int) -> NDArray[Any]:
    return np.array([f"x{i}" for i in range(width)], dtype=object)


def _steps(X: Any, n_features: int = 1) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return sequences padded to (n, T, d), and which steps there are.

    Where no row has any, nothing tells that they are sequences, or of how many features.
    """
    padded = _as_dense(as_block("X", X))
    if padded.ndim < 3 and pd.isna(padded).all():
        padded = np.full((len(padded), 1, n_features), np.nan)
    if padded.ndim != 3:
        raise ValueError(
            f"PerTimestep needs sequences, (n, T, d) or one array (T_i, d) per sample, got shape "
            f"{padded.shape}; use its transformer directly for feature vectors."
        )
    if padded.dtype.kind != "f":
        padded = padded.astype(np.float64)
    return padded, np.asarray(~np.isnan(padded).all(axis=2))


def _pad_to(name: str, block: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    surplus = block.shape[1] - size[0]
    if block.ndim != 3 or surplus == 0:
        return block
    if surplus > 0:
        raise ValueError(
            f"Modality {name!r} has {block.shape[1]} time steps, but FlattenModalities was fitted "
            f"with at most {size[0]}; cut it, or pad the training data."
        )
    return np.pad(block, ((0, 0), (0, -surplus), (0, 0)), constant_values=np.nan)
