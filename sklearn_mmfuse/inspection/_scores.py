"""A score of predictions, and how much it varies with the rows, or the persons, that are there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring, get_scorer
from sklearn.utils.validation import check_consistent_length

from sklearn_mmfuse._intervals import bootstrap_weights, check_confidence
from sklearn_mmfuse._random import Seed

__all__ = ["Replicates", "Scores"]

FloatArray = NDArray[np.float64]
RESPONSES = ("predict", "predict_proba", "decision_function", "predict_log_proba")


@dataclass(frozen=True)
class Replicates:
    """How intervals of scores are made.

    Parameters
    ----------
    n_bootstrap : int
        How many replicates there are; 0 makes no intervals.
    confidence : float
        Level of intervals.
    groups : array-like of shape (n_samples,) or None
        Whole groups are drawn.
    random_state : int, RandomState or None
        Seeds the replicates.

    Raises
    ------
    ValueError
        When groups would not be looked at, or `n_bootstrap` or `confidence` is out of range.
    """

    n_bootstrap: int
    confidence: float
    groups: ArrayLike | None
    random_state: Seed

    def __post_init__(self) -> None:
        n = self.n_bootstrap
        if not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"n_bootstrap must be an integer from 0 on; got {n!r}.")
        if self.groups is not None and not n:
            raise ValueError(
                "groups are what intervals are taken over; ask for some: n_bootstrap=200."
            )
        check_confidence(self.confidence)

    def draw(self, n_samples: int) -> FloatArray:
        """Return how often each row was drawn in each replicate, `(n_bootstrap, n_samples)`."""
        if not self.n_bootstrap:
            return np.empty((0, n_samples))
        drawn = bootstrap_weights(
            n_samples, self.n_bootstrap, groups=self.groups, random_state=self.random_state
        )
        return n_samples * drawn


class Scores:
    """Scores models on the same rows, as they are and on replicates of them.

    A replicate weighs every row, or every row of a group, by how often a bootstrap has drawn it, so
    that a model predicts once. All models are scored on the same replicates: what differs between
    them varies less than each.

    Parameters
    ----------
    estimator : estimator
        What is scored, or what it is a change of.
    scoring : str, callable or None
        As in scikit-learn; None is the estimator's own `score`.
    y : array-like of shape (n_samples,)
        The targets.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the score.
    replicates : Replicates
        How intervals are made.

    Raises
    ------
    ValueError
        When there are several metrics; when the metric cannot weigh rows and replicates do.
    """

    def __init__(
        self,
        estimator: Any,
        scoring: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        replicates: Replicates,
    ) -> None:
        if isinstance(scoring, list | tuple | set | dict):
            raise ValueError(f"scoring must be a single metric; got {scoring!r}.")
        self.y = y
        self._weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        self._confidence = replicates.confidence
        self._scorer = check_scoring(estimator, scoring)
        check_consistent_length(y, sample_weight)
        drawn = replicates.draw(len(y))
        self._replicates = drawn if self._weight is None else drawn * self._weight
        if len(drawn) and scoring is None:
            self._scorer = _of_predictions(estimator)

    @property
    def columns(self) -> list[str]:
        """What intervals are called; none where there are no replicates."""
        return ["low", "high"] if len(self._replicates) else []

    def __call__(self, model: Any, data: Any) -> FloatArray:
        """Return the score, and those of the replicates behind it, `(1 + n_bootstrap,)`."""
        if not len(self._replicates):
            return np.array([self._score(model, data, self._weight)])
        model = _Remembering(model)
        whole = self._score(model, data, self._weight)
        # The whole was checked, and warned of; a replicate may lack a class.
        known = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
        with warnings.catch_warnings(), known:
            warnings.simplefilter("ignore")
            try:
                others = [self._score(model, data, own) for own in self._replicates]
            except TypeError as error:
                raise ValueError(
                    f"n_bootstrap={len(self._replicates)} weighs rows, but scoring does not take "
                    f"sample_weight ({error}); choose a metric that does, or n_bootstrap=0."
                ) from error
        return np.array([whole, *others])

    def _score(self, model: Any, data: Any, weight: FloatArray | None) -> float:
        weights = {} if weight is None else {"sample_weight": weight}
        return float(self._scorer(model, data, self.y, **weights))

    def interval(self, values: FloatArray) -> list[float]:
        """Return the ends of the interval of what was made of scores; none without replicates."""
        if len(values) == 1:
            return []
        tail = (1 - self._confidence) / 2
        replicates = values[1:]
        there = replicates[~np.isnan(replicates)]  # a metric may need a class that was not drawn
        if not len(there):
            return [np.nan, np.nan]
        return [float(end) for end in np.quantile(there, [tail, 1 - tail])]


class _Remembering:
    """A model that predicts once; everything else is that of the model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._known: dict[str, Any] = {}

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # that scikit-learn names, and asks for
        return type(self._model)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return self._once(name, found) if name in RESPONSES else found

    def _once(self, name: str, respond: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @wraps(respond)  # scikit-learn reads its name
        def known(X: Any) -> Any:
            if name not in self._known:
                self._known[name] = respond(X)
            return self._known[name]

        return known


def _of_predictions(estimator: Any) -> Any:
    """Return the scorer that an estimator's own `score` is."""
    last = getattr(estimator, "_final_estimator", estimator)  # of a pipeline
    own = getattr(type(last), "score", None)
    for mixin, name in ((ClassifierMixin, "accuracy"), (RegressorMixin, "r2")):
        if own is mixin.score:
            return get_scorer(name)
    raise ValueError(
        f"{type(last).__name__} scores in a way of its own; intervals need scoring='accuracy' or "
        "another metric."
    )
