"""From a data frame, or from modalities, to prepared modalities: ColumnTransformer with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._data import MultimodalData

__all__ = ["FlattenModalities", "ModalityColumnTransformer", "PerTimestep"]


class ModalityColumnTransformer(ColumnTransformer, auto_wrap_output_keys=None):
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

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit all transformers.

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
        self : object
            The fitted transformer.
        """
        self.fit_transform(X, y=y, **params)
        return self

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
        return super().fit_transform(X, y, **params)

    def transform(self, X: Any, **params: Any) -> MultimodalData:
        """Return the prepared modalities.

        Parameters
        ----------
        X : data frame, array, MultimodalData or mapping
            The data, in the form seen in `fit`.
        **params : dict
            Routed to the transformers.

        Returns
        -------
        modalities : MultimodalData
            One block per transformer that is not dropped.
        """
        check_is_fitted(self)
        X = _as_container(X)
        if self._input_modalities is not None:
            if not isinstance(X, MultimodalData):
                raise ValueError(
                    f"{type(self).__name__} was fitted on modalities "
                    f"({', '.join(self._input_modalities)}), but got {type(X).__name__}; pass a "
                    "MultimodalData or a dict."
                )
            missing = [name for name in self._input_modalities if name not in X]
            if missing:
                raise ValueError(f"X lacks the modalities {', '.join(missing)} seen in fit.")
            X = X[self._input_modalities]
        return super().transform(X, **params)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Configure the transformers inside; the result is a `MultimodalData` all the same.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            Passed on to the transformers that have `set_output`.

        Returns
        -------
        self : object
            This transformer.
        """
        for _, transformer, _ in self.transformers:
            if hasattr(transformer, "set_output"):
                transformer.set_output(transform=transform)
        return self

    def _active_names(self) -> list[str]:
        steps = self._iter(
            fitted=True, column_as_labels=False, skip_drop=True, skip_empty_columns=True
        )
        return [name for name, *_ in steps]

    def _hstack(self, Xs: list[Any], *, n_samples: int) -> MultimodalData:
        return MultimodalData(dict(zip(self._active_names(), Xs, strict=True)))

    def _validate_output(self, result: Any) -> None:
        for name, block in zip(self._active_names(), result, strict=True):
            if len(getattr(block, "shape", ())) < 2:
                raise ValueError(
                    f"The output of the {name!r} transformer must have at least 2 dimensions, "
                    f"(n_samples, n_features); got {getattr(block, 'shape', type(block))}."
                )

    def _record_output_indices(self, Xs: Any) -> None:
        # Features are the last axis, also of sequences.
        super()._record_output_indices([np.empty((0, block.shape[-1])) for block in Xs])

    def _validate_column_callables(self, X: Any) -> None:
        if not isinstance(X, MultimodalData):
            super()._validate_column_callables(X)
            return
        names = list(X)
        self._columns = [c(X) if callable(c) else c for _, _, c in self.transformers]
        self._transformer_to_input_indices = {
            step[0]: _positions(columns, names)
            for step, columns in zip(self.transformers, self._columns, strict=True)
        }

    def _get_feature_name_out_for_transformer(
        self, name: str, trans: Any, feature_names_in: NDArray[Any]
    ) -> Any:
        if self._input_modalities is None:
            return super()._get_feature_name_out_for_transformer(name, trans, feature_names_in)
        width = self.output_indices_[name].stop - self.output_indices_[name].start
        try:
            names = trans.get_feature_names_out()
        except (AttributeError, ValueError):
            names = ()
        # A passthrough knows no names of its own.
        return names if len(names) == width else np.array([str(i) for i in range(width)], object)


class PerTimestep(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
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
        X : array-like of shape (n, T, d), or list of arrays (T_i, d)
            Sequences.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        padded = pad_sequences(X)
        self.transformer_ = clone(self.transformer).fit(padded[_observed(padded)])
        self.n_features_in_ = padded.shape[2]
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Transform every observed time step.

        Parameters
        ----------
        X : array-like of shape (n, T, d), or list of arrays (T_i, d)
            Sequences; T need not be that of `fit`.

        Returns
        -------
        X_new : ndarray of shape (n, T, d_new)
            NaN where there is no step.
        """
        check_is_fitted(self)
        padded = pad_sequences(X)
        if padded.shape[2] != self.n_features_in_:
            raise ValueError(
                f"The time steps of X have {padded.shape[2]} features, but PerTimestep was fitted "
                f"with {self.n_features_in_}."
            )
        observed = _observed(padded)
        steps = np.asarray(self.transformer_.transform(padded[observed]))
        result = np.full((*padded.shape[:2], steps.shape[1]), np.nan)
        result[observed] = steps
        return result

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names that the transformer gives its output.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the features of a step.

        Returns
        -------
        names : ndarray of str
            One per output feature.
        """
        check_is_fitted(self)
        return np.asarray(self.transformer_.get_feature_names_out())


class FlattenModalities(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Put all modalities side by side in one array: early fusion for any scikit-learn estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.preprocessing import FlattenModalities
    >>> flatten = FlattenModalities().fit({"text": np.ones((2, 2)), "audio": np.zeros((2, 1))})
    >>> flatten.get_feature_names_out().tolist()
    ['text__0', 'text__1', 'audio__0']
    >>> flatten.transform({"audio": np.zeros((1, 1)), "text": np.ones((1, 2))})
    array([[1., 1., 0.]])
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the names and sizes of the modalities.

        Parameters
        ----------
        X : MultimodalData or mapping
            The modalities.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        data = _as_container(X)
        self.modality_names_in_ = np.array(list(data), dtype=object)
        widths = {name: data[[name]].to_numpy().shape[1] for name in data}
        self.n_features_out_ = sum(widths.values())
        self._names_out = [f"{name}__{i}" for name, width in widths.items() for i in range(width)]
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the modalities side by side, in the order of `fit`.

        Parameters
        ----------
        X : MultimodalData or mapping
            The modalities.

        Returns
        -------
        X_new : ndarray of shape (n, n_features_out_)
            The features.
        """
        check_is_fitted(self)
        flat = _as_container(X)[list(self.modality_names_in_)].to_numpy()
        if flat.shape[1] != self.n_features_out_:
            raise ValueError(
                f"X has {flat.shape[1]} features, but FlattenModalities was fitted with "
                f"{self.n_features_out_}."
            )
        return flat

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return `modality__position` for every feature.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str
            One per feature.
        """
        check_is_fitted(self)
        return np.array(self._names_out, dtype=object)


def pad_sequences(X: Any) -> NDArray[np.float64]:
    """Return sequences as `(n, T, d)`, padded with NaN to the longest."""
    if getattr(X, "ndim", 0) == 3:
        return np.asarray(X, dtype=np.float64)
    rows = [np.asarray(row, dtype=np.float64) for row in X]
    if not rows or any(row.ndim != 2 or row.shape[1] != rows[0].shape[1] for row in rows):
        raise ValueError(
            "Sequences are (n_samples, T, d), or a list of arrays (T_i, d) with equal d; got "
            f"{[row.shape for row in rows[:3]]}."
        )
    padded = np.full((len(rows), max(map(len, rows)), rows[0].shape[1]), np.nan)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _observed(padded: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(padded).all(axis=2))


def _as_container(X: Any) -> Any:
    return MultimodalData(X) if isinstance(X, Mapping) else X


def _positions(columns: Any, names: list[str]) -> list[int]:
    """Return the positions of modalities, given one name, several, or positions."""
    wanted = [columns] if isinstance(columns, str | int) else list(columns)
    for column in wanted:
        if isinstance(column, str) and column not in names:
            raise ValueError(f"X has no modality {column!r}; there are {', '.join(names)}.")
    return [names.index(c) if isinstance(c, str) else int(c) for c in wanted]
