"""What stands in front of a fusion estimator, and the data that reaches it from there."""

from __future__ import annotations

from typing import Any, Self
from uuid import uuid4

from joblib import hash as content_hash
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_mmfuse.estimators._base import BaseFusionEstimator
from sklearn_mmfuse.model_selection._sklearn import BaseSearchCV

__all__ = [
    "Caught",
    "architecture",
    "can_be_stacked",
    "catch",
    "final_estimator",
    "front_key",
    "path_to_groups",
    "put_behind",
]

# The data that reaches the estimator: X, y and its fit parameters.
Caught = tuple[Any, Any, dict[str, Any]]


def final_estimator(model: Any) -> BaseFusionEstimator | None:
    """Return the fusion estimator that a model is, or that is last in it; None without one.

    Behind plain pipelines, and with our own `fit`: what overrides one is to be fitted by it.
    """
    while type(model) is Pipeline:
        model = model.steps[-1][1]
    ours = isinstance(model, BaseFusionEstimator)
    return model if ours and type(model).fit is BaseFusionEstimator.fit else None


def can_be_stacked(model: Any) -> bool:
    """Return whether a model may be trained beside others."""
    final = final_estimator(model)
    if final is None or hasattr(final, "_skl_callbacks") or final.verbose:
        return False
    return final.n_members == 1 and not final.bootstrap


def path_to_groups(model: Any) -> list[str] | None:
    """Return the names of the steps that lead to what is to know the groups, or None.

    That is a fusion estimator, or a search, whose splits are to keep them apart as well.
    """
    path = []
    last = model
    while type(last) is Pipeline:
        name, last = last.steps[-1]
        path.append(name)
    wanted = final_estimator(last) is not None or isinstance(last, BaseSearchCV)
    return path if wanted else None


def put_behind(model: Any, final: Any) -> Any:
    """Return a model with another last estimator, sharing everything in front of it."""
    if type(model) is not Pipeline:
        return final
    name, last = model.steps[-1]
    steps = [*model.steps[:-1], (name, put_behind(last, final))]
    return Pipeline(
        steps,
        transform_input=model.transform_input,
        memory=model.memory,
        verbose=model.verbose,
    )


class _Catcher(BaseEstimator):
    """Keeps what its fit is given, in place of the estimator whose requests it makes."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Keep the data."""
        self.caught_: Caught = (X, y, params)
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Ask for what the estimator asks for."""
        return self.estimator.get_metadata_routing()


def catch(model: Any, X: Any, y: Any, fit_params: dict[str, Any]) -> tuple[Any, Caught]:
    """Fit what stands in front of the estimator; return that and what reaches the estimator."""
    catcher = _Catcher(final_estimator(model))
    front = put_behind(model, catcher)
    front.fit(X, y, **fit_params)
    return front, catcher.caught_


def front_key(model: Any) -> str:
    """Return a key that models with the same front share; "" where there is none."""
    return _key(put_behind(model, "estimator")) if type(model) is Pipeline else ""


def architecture(model: Any) -> str:
    """Return a key that models share whose estimators may train as members of one net."""
    estimator = final_estimator(model)
    assert estimator is not None
    fixed = {
        key: value
        for key, value in estimator.get_params(deep=False).items()
        if key not in estimator._member_params
    }
    return _key((type(estimator), sorted(fixed.items())))


def _key(content: Any) -> str:
    try:
        return str(content_hash(content))
    except Exception:  # what cannot be pickled, a lambda say, is like no other
        return uuid4().hex
