"""Explanations of a model that has learned nothing say so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    MROClassifier,
    MRORegressor,
    MutualDependencyClassifier,
    RoutingClassifier,
    SMURFClassifier,
)
from sklearn_mmfuse.estimators._epochs import choose_epochs
from sklearn_mmfuse.estimators._fitting import Shared
from sklearn_mmfuse.estimators._held_out import predict_held_out
from tests.estimators._data import make_blocks, make_target

QUICK = {"max_epochs": 20, "hidden_layer_sizes": (8,), "random_state": 0}
METHODS = [
    FusionClassifier,
    InTenseClassifier,
    MROClassifier,
    MutualDependencyClassifier,
    RoutingClassifier,
    SMURFClassifier,
]


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    X = {name: rng.normal(size=(n, 3)) for name in "ab"}
    return X, rng.integers(0, 2, n)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("n", "how", "rows"),
    [(200, "auto", "200 rows that folds left out"), (600, True, "60 validation rows")],
)
def test_scores_of_noise_are_doubted_wherever_they_are_read(method, n, how, rows):
    X, y = noise(n)
    model = method(**QUICK, early_stopping=how).fit(X, y)
    with pytest.warns(UserWarning, match=f"On the {rows} the model is not reliably better than a"):
        model.relevance_scores_  # noqa: B018
    blocks = make_blocks(n)
    model.fit(blocks, make_target(blocks, "binary"))  # what there is to learn is not
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.relevance_scores_.sum() == pytest.approx(1.0)


def test_several_nets_are_doubted_together():
    X, y = noise(600)
    model = MROClassifier(**QUICK, n_members=3, early_stopping=True).fit(X, y)
    with pytest.warns(UserWarning, match="On the 60 validation rows"):
        model.relevance_scores_  # noqa: B018


def test_training_rows_are_asked_where_there_are_few_and_no_others():
    X, y = noise(600)
    model = MROClassifier(**QUICK | {"max_epochs": 1}, early_stopping=False)
    model.set_params(learning_rate=1e-9).fit({k: x[:80] for k, x in X.items()}, y[:80])
    with pytest.warns(UserWarning, match="On the 80 training rows"):
        model.relevance_scores_  # noqa: B018
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, y).relevance_scores_  # noqa: B018 - 600 that were learned from tell nothing


def test_persons_are_what_is_counted():
    """A target of persons, and features that tell persons apart: nothing holds for others."""
    doubted = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        person = np.repeat(np.arange(20), 20)
        X = {name: rng.normal(size=(20, 2))[person] for name in "ab"}
        model = MRORegressor(**QUICK | {"random_state": seed})
        model.fit(X, rng.normal(size=20)[person], groups=person)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.relevance_scores_  # noqa: B018
        doubted += len(caught)
    assert doubted == 5


@pytest.mark.parametrize("n", [120, 600])
def test_held_out_rows_are_predicted_as_they_were_in_training(n):
    blocks = make_blocks(n)
    y = make_target(blocks, "multiclass")
    model = MROClassifier(**QUICK, early_stopping="cv" if n == 120 else True).fit(blocks, y)
    plan = clone(model)._plan(blocks, y, None, None, Shared())
    choose_epochs(model._build_net, [plan])
    if n == 600:
        plan.net = model.module_
    told = predict_held_out(plan)
    assert len(told.raw) == (120 if n == 120 else 60)
    loss = plan.loss.per_sample(told.times(plan.factor), told.target)
    best = min(row["valid_loss"] for row in model.history_)
    doubt = 1 / 121 if n == 120 else 0.0
    own = plan.loss.doubted(told.times(plan.factor), told.target, doubt)
    assert float(told.share @ own) == pytest.approx(best, rel=0.02 if n == 120 else 1e-4)
    assert float(told.share @ loss) < np.log(3)
