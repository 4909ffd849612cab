"""Classes and numbers: how a target is encoded, and how raw predictions are reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.losses import (
    AbsoluteError,
    BaseLoss,
    BinaryCrossEntropy,
    CrossEntropy,
    SquaredError,
)

__all__ = ["FusionClassifierMixin", "FusionRegressorMixin", "as_numpy", "count_columns"]

FloatArray = NDArray[np.float64]
REGRESSION_LOSSES: dict[str, type[BaseLoss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
}


def as_numpy(y: Any) -> Any:
    """Bring a torch tensor to the CPU; scikit-learn's checks do the rest."""
    return y.detach().cpu().numpy() if hasattr(y, "detach") else y


def count_columns(y: Any) -> int:
    """Return the number of columns of a target.

    Raises
    ------
    ValueError
        When entries are sequences of unequal length, or sets: labels by name.
    """
    entries = y if isinstance(y, list | tuple) else ()
    if any(isinstance(entry, set | frozenset) for entry in entries) or _is_ragged(entries):
        raise ValueError(
            "y holds a collection of labels for each sample; turn it into an indicator matrix: "
            "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
        )
    shape = np.asarray(y).shape
    return shape[1] if len(shape) == 2 else 1


def _one_column(y: Any) -> NDArray[Any]:
    """Return a target as a vector; of one column, with a warning."""
    if np.asarray(y).ndim == 2:
        warn_user(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples,), for example using ravel().",
            DataConversionWarning,
        )
    return np.asarray(column_or_1d(y))


def _is_ragged(entries: Sequence[Any]) -> bool:
    return len({len(entry) for entry in entries if isinstance(entry, list | tuple)}) > 1


def weigh_classes(weight: FloatArray, class_weight: Any, target: NDArray[Any]) -> FloatArray:
    """Return the weights of samples times those of their classes."""
    of_class = compute_sample_weight(class_weight, target)
    if not (np.isfinite(of_class).all() and (of_class >= 0).all()):
        raise ValueError(f"class_weight holds non-negative, finite weights; got {class_weight}.")
    weighted: FloatArray = weight * of_class
    return weighted


class FusionClassifierMixin(ClassifierMixin):
    """Two or more classes; one logit for two classes, one per class otherwise."""

    class_weight: Any

    def _encode_target(self, y: Any) -> FloatArray:
        y = as_numpy(y)
        if (n_columns := count_columns(y)) > 1:
            raise ValueError(
                f"{type(self).__name__} predicts one class per sample: y should be a 1d array; got "
                f"{n_columns} columns. RoutingClassifier takes several labels; or fit a model for "
                "each column (scikit-learn's MultiOutputClassifier)."
            )
        if isinstance(self.class_weight, list):
            raise ValueError(
                "class_weight is a list only where y has several labels; use a dict from each "
                "class to its weight, or 'balanced'."
            )
        y = _one_column(y)
        assert_all_finite(y, input_name="y")
        if y.dtype == object and any(label is None for label in y):
            raise ValueError("Input y contains None: drop the samples whose class is unknown.")
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        if len(encoder.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, but only one class "
                f"is present: 1 class, {str(encoder.classes_[0])!r}."
            )
        self.classes_ = encoder.classes_
        return encoder.transform(y).astype(np.float64)

    def _weigh_target(self, target: FloatArray, weight: FloatArray) -> FloatArray:
        if self.class_weight is not None:
            labels = self.classes_[target.astype(np.intp)]
            weight = weigh_classes(weight, self.class_weight, labels)
        present = np.unique(target[weight > 0]).astype(np.intp)
        if len(present) < 2:
            names = [str(name) for name in self.classes_[present]]
            raise ValueError(
                "After dropping samples of weight zero only one class is present: "
                f"{len(present)} class, {', '.join(map(repr, names)) or 'none'}; at least 2 "
                "classes are needed (sample_weight and class_weight are multiplied)."
            )
        return weight

    def _make_loss(self) -> BaseLoss:
        return BinaryCrossEntropy() if len(self.classes_) == 2 else CrossEntropy()

    def _output_names(self) -> list[Any]:
        return [self.classes_[1]] if len(self.classes_) == 2 else list(self.classes_)

    def decision_function(self, X: Any, *, available: Any = None) -> FloatArray:
        """Return the raw prediction.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        raw : ndarray of shape (n,), (n, n_classes) or (n, n_labels)
            Log-odds of `classes_[1]` with two classes, one logit per class with several; the
            log-odds of every label, where a method takes several labels.
        """
        raw: FloatArray = self.decompose(X, available=available, purify=False).sum()
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def predict_proba(self, X: Any, *, available: Any = None) -> FloatArray:
        """Return class probabilities, columns in the order of `classes_`.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        probabilities : ndarray of shape (n, n_classes)
            Rows add up to 1.
        """
        probabilities: FloatArray = self.decompose(X, available=available, purify=False).predict()
        return probabilities

    def predict(self, X: Any, *, available: Any = None) -> NDArray[Any]:
        """Return the most probable class.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        labels : ndarray of shape (n,)
            Values of `classes_`.
        """
        probabilities = self.predict_proba(
            X, available=available
        )  # first: it checks that the estimator is fitted
        return np.asarray(self.classes_[np.argmax(probabilities, axis=1)])


class FusionRegressorMixin(RegressorMixin):
    """One number per sample; standardized for training, reported in its own units."""

    loss: str

    def _encode_target(self, y: Any) -> FloatArray:
        y = as_numpy(y)
        if (n_columns := count_columns(y)) > 1:
            raise ValueError(
                f"{type(self).__name__} predicts one number per sample: y should be a 1d array; "
                f"got {n_columns} columns. Fit a model for each (scikit-learn's "
                "MultiOutputRegressor)."
            )
        y = _one_column(y)
        if y.dtype.kind not in "biuf":
            try:
                y = y.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{type(self).__name__} predicts numbers, but y has dtype {y.dtype}; for class "
                    "labels use the classifier of the same method."
                ) from error
        assert_all_finite(y, input_name="y")
        return y.astype(np.float64)

    def _target_scaling(self, target: FloatArray, weight: FloatArray) -> tuple[float, float]:
        mean = float(np.average(target, weights=weight))
        scale = float(np.sqrt(np.average((target - mean) ** 2, weights=weight)))
        if scale == 0.0:
            warn_user(
                f"y is {mean:g} in every training row: that is what will be predicted, and there "
                "is nothing to explain.",
            )
        return mean, scale

    def _make_loss(self) -> BaseLoss:
        return REGRESSION_LOSSES[self.loss]()

    def _output_names(self) -> list[Any]:
        return ["y"]

    def predict(self, X: Any, *, available: Any = None) -> FloatArray:
        """Return predictions in the units of `y`.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        predictions : ndarray of shape (n,)
            One number per sample.
        """
        predictions: FloatArray = self.decompose(X, available=available, purify=False).predict()[
            :, 0
        ]
        return predictions
