"""Several labels at once, each of which a sample has or has not."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils import Tags, check_array

from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.estimators._targets import (
    FusionClassifierMixin,
    as_numpy,
    count_columns,
    weigh_classes,
)
from sklearn_mmfuse.losses import BaseLoss, MultilabelCrossEntropy

__all__ = ["MultilabelClassifierMixin"]

FloatArray = NDArray[np.float64]


class MultilabelClassifierMixin(FusionClassifierMixin):
    """Classes, or an indicator matrix of labels; one logit per label.

    With labels, `classes_` and `predict_proba` have an entry per label, as those of scikit-learn's
    `MultiOutputClassifier`. An array instead of its list for `classes_`: with a list,
    `cross_val_predict` fails on `decision_function`.
    """

    label_names_: list[str]

    @property
    def _has_labels(self) -> bool:
        return np.ndim(getattr(self, "classes_", ())) == 2

    def _encode_target(self, y: Any) -> FloatArray:
        names = getattr(y, "columns", None)
        y = as_numpy(y)
        if sp.issparse(y):
            y = y.toarray() if y.shape[1] > 1 else y.toarray().ravel()
        if count_columns(y) == 1:
            return super()._encode_target(y)
        target = check_array(y, dtype=None, input_name="y")
        if not np.isin(target, (0, 1)).all():
            raise ValueError(
                f"{type(self).__name__} takes classes (n,), or labels (n, n_labels) that are 0 or "
                "1; y has several columns with other values. Fit one model per column."
            )
        self.label_names_ = [str(n) for n in (range(target.shape[1]) if names is None else names)]
        self.classes_ = np.tile([0, 1], (target.shape[1], 1))
        return target.astype(np.float64)

    def _weigh_target(self, target: FloatArray, weight: FloatArray) -> FloatArray:
        if not self._has_labels:
            return super()._weigh_target(target, weight)
        self._check_labels(target[weight > 0])
        if self.class_weight is None:
            return weight
        if isinstance(self.class_weight, dict):
            raise ValueError(
                "With several labels, class_weight is 'balanced' or a list with a dict for each, "
                f"[{{0: 1, 1: 5}}, ...]; got {self.class_weight}."
            )
        return weigh_classes(weight, self.class_weight, target)

    def _check_labels(self, target: FloatArray) -> None:
        """Say which labels never vary; a fold of a cross-validation may well lack a rare one."""
        constant = (target == target[:1]).all(axis=0)
        if constant.all():
            raise ValueError(
                f"{type(self).__name__} needs samples with and without a label, but each of "
                f"{self.label_names_} is the same in every sample (of positive weight)."
            )
        if constant.any():
            names = [self.label_names_[i] for i in np.flatnonzero(constant)]
            warn_user(
                f"The labels {names} are the same in every training sample: nothing can be learned "
                "about them, and that is what will be predicted.",
            )

    def _make_loss(self) -> BaseLoss:
        return MultilabelCrossEntropy() if self._has_labels else super()._make_loss()

    def _output_names(self) -> list[Any]:
        return list(self.label_names_) if self._has_labels else super()._output_names()

    def predict_proba(self, X: Any, *, available: Any = None) -> Any:
        """Return probabilities.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes), or list of ndarray of shape (n, 2)
            Columns in the order of `classes_`; with labels, an array for each: of not having it
            and of having it.
        """
        probabilities = super().predict_proba(X, available=available)
        if not self._has_labels:
            return probabilities
        return [np.column_stack([1.0 - having, having]) for having in probabilities.T]

    def predict(self, X: Any, *, available: Any = None) -> NDArray[Any]:
        """Return the most probable class, or the labels of a probability above one half.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        labels : ndarray of shape (n,) or (n, n_labels)
            Values of `classes_`, or zeros and ones.
        """
        if self._has_labels:
            return (self.decision_function(X, available=available) > 0).astype(np.intp)
        return super().predict(X, available=available)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
