"""What is compared: scikit-learn's models, EBM, RealMLP, TabM, MKL, stacking, and ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from benchmarks.peers.sets import Problem
from sklearn_mmfuse import (
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    RoutingClassifier,
    RoutingRegressor,
    SMURFClassifier,
    SMURFRegressor,
)

Make = Callable[[Problem, int], Any]

OURS: dict[str, tuple[type, type]] = {
    "MRO": (MROClassifier, MRORegressor),
    "SMURF": (SMURFClassifier, SMURFRegressor),
    "InTense": (InTenseClassifier, InTenseRegressor),
    "Routing": (RoutingClassifier, RoutingRegressor),
}


def pick(problem: Problem, classifier: Any, regressor: Any) -> Any:
    """Return what the target needs."""
    return classifier if problem.is_classification else regressor


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


def linear(problem: Problem, seed: int) -> Any:
    return scaled(pick(problem, LogisticRegression(max_iter=5000), Ridge()))


def boosting(problem: Problem, seed: int) -> Any:
    kind = pick(problem, HistGradientBoostingClassifier, HistGradientBoostingRegressor)
    return kind(random_state=seed)


def forest(problem: Problem, seed: int) -> Any:
    return pick(problem, RandomForestClassifier, RandomForestRegressor)(random_state=seed)


def svm(problem: Problem, seed: int) -> Any:
    return scaled(pick(problem, SVC(), SVR()))


def mlp(problem: Problem, seed: int) -> Any:
    return scaled(pick(problem, MLPClassifier, MLPRegressor)(random_state=seed))


def stacking(problem: Problem, seed: int) -> Any:
    """Late fusion as a scikit-learn user does it: a model per modality, and one on top."""
    start, parts = 0, []
    for name, block in problem.X.items():
        columns = list(range(start, start + block.shape[1]))
        start += block.shape[1]
        chosen = ColumnTransformer([("own", StandardScaler(), columns)])
        model = pick(problem, LogisticRegression(max_iter=5000), Ridge())
        parts.append((name, make_pipeline(chosen, model)))
    return pick(problem, StackingClassifier, StackingRegressor)(parts)


def ebm(problem: Problem, seed: int, **params: Any) -> Any:
    from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor

    kind = pick(problem, ExplainableBoostingClassifier, ExplainableBoostingRegressor)
    return kind(random_state=seed, n_jobs=1, **params)


def pytabkit(name: str, problem: Problem, seed: int) -> Any:
    import pytabkit as package

    kind = getattr(package, f"{name}_{pick(problem, 'Classifier', 'Regressor')}")
    return kind(device="cpu", random_state=seed, n_threads=1)


class KernelPerModality(ClassifierMixin, BaseEstimator):
    """The lp-norm MKL of scikit-multimodallearn, with RBF kernels, for two classes.

    It refuses numbers as targets, and the package's boosting (MuMBo, MuCuMBo) cannot be imported
    beside scikit-learn 1.9.
    """

    def __init__(self, widths: tuple[int, ...], lmbda: float = 1.0) -> None:
        self.widths = widths
        self.lmbda = lmbda

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        from multimodal.kernels.lpMKL import MKL

        gamma = [{"gamma": 1.0 / width} for width in self.widths]
        self.model_ = MKL(self.lmbda, kernel=["rbf"] * len(gamma), kernel_params=gamma)
        self.model_.fit(X, y, np.cumsum([0, *self.widths]))
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.ravel(self.model_.decision_function(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def mkl(problem: Problem, seed: int) -> Any:
    if not problem.is_classification:
        raise NotImplementedError("MKL is for classes")
    widths = tuple(block.shape[1] for block in problem.X.values())
    return scaled(OneVsRestClassifier(KernelPerModality(widths)))


PEERS: dict[str, Make] = {
    "linear": linear,
    "boosting": boosting,
    "forest": forest,
    "RBF-SVM": svm,
    "MLP": mlp,
    "stacking": stacking,
    "EBM": ebm,
    "EBM, additive": partial(ebm, interactions=0),
    "RealMLP": partial(pytabkit, "RealMLP_TD"),
    "TabM": partial(pytabkit, "TabM_D"),
    "MKL": mkl,
}


def ours(method: str, params: dict[str, Any], problem: Problem, seed: int) -> Any:
    return pick(problem, *OURS[method])(random_state=seed, **params)


def inputs(problem: Problem, *, as_modalities: bool) -> Any:
    """Return X as our estimators want it, or side by side."""
    if as_modalities:
        return MultimodalData(problem.X)
    return np.column_stack(list(problem.X.values()))
