"""Several nets in one estimator: each is what it is alone, together they tell how sure they are."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
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
from sklearn_mmfuse._training import TrainingResult
from sklearn_mmfuse.estimators._ensemble import _drawn_anew, member_nets, pooled
from sklearn_mmfuse.estimators._fitting import Shared

N = 120
SMALL = {
    "max_epochs": 20,
    "early_stopping": False,
    "hidden_layer_sizes": (6,),
    "dtype": "float64",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(N, 3)), "v": rng.normal(size=(N, 2))}
    return X, (X["a"][:, 0] + X["a"][:, 1] * X["v"][:, 0] > 0).astype(int)


METHODS = [
    (MROClassifier, {}),
    (MROClassifier, {"optimization": "smro"}),
    (SMURFClassifier, {}),
    (InTenseClassifier, {"n_bootstrap": 5}),
    (RoutingClassifier, {}),
    (FusionClassifier, {"fusion": "tensor"}),
    (MutualDependencyClassifier, {"n_critic_steps": 1}),
]


def of_each(model):
    """Return each net of an ensemble as an estimator of its own."""
    build = lambda: model._build_net({**model._config, "n_members": 1})  # noqa: E731
    nets = []
    for net in member_nets(model.module_, build):
        single = pickle.loads(pickle.dumps(model))
        single.module_ = net
        nets.append(single)
    return nets


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_contributions_are_means_with_standard_errors(data, method, params):
    X, y = data
    model = method(n_members=3, **SMALL, **params).fit(X, y)
    parts = model.decompose(X, purify=False)
    np.testing.assert_allclose(parts.sum().ravel(), model.decision_function(X), atol=1e-12)
    several = np.stack([own.decompose(X, purify=False).values for own in of_each(model)])
    np.testing.assert_allclose(parts.values, several.mean(axis=0), atol=1e-12)
    several -= several.mean(axis=1, keepdims=True)  # a term's mean over the training rows
    expected = several.std(axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(parts.standard_errors, expected, atol=1e-12)
    assert (parts.standard_errors.max(axis=(0, 2)) > 0).all()
    assert model.relevance_scores_.sum() == pytest.approx(1)
    assert len(model.unique_contributions_) == N
    assert {row["member"] for row in model.history_} == {0, 1, 2}
    assert model.n_iter_ == 20 * (2 if "optimization" in params else 1)  # of each order


def test_the_first_net_is_the_one_there_would_be_alone(data):
    X, y = data
    ensemble = MROClassifier(n_members=3, **SMALL).fit(X, y)
    alone = MROClassifier(**SMALL).fit(X, y)
    first = of_each(ensemble)[0].decision_function(X)
    np.testing.assert_allclose(first, alone.decision_function(X), atol=1e-9)
    second = of_each(ensemble)[1].decision_function(X)
    assert np.abs(second - first).max() > 1e-3


def test_an_ensemble_is_reproducible_and_survives_a_pickle(data):
    X, y = data
    model = MROClassifier(n_members=2, bootstrap=True, **SMALL).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    refitted = clone(model).fit(X, y)
    np.testing.assert_array_equal(refitted.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_pure_effects_of_an_ensemble_add_up_and_have_errors(data):
    X, y = data
    for model in (
        MROClassifier(n_members=2, **SMALL).fit(X, y),
        FusionClassifier(fusion="concat", n_members=2, **SMALL).fit(X, y),
    ):
        parts = model.decompose(X, purify=True)
        np.testing.assert_allclose(parts.sum().ravel(), model.decision_function(X), atol=1e-10)
        several = np.stack([own.decompose(X, purify=True).values for own in of_each(model)])
        np.testing.assert_allclose(parts.values, several.mean(axis=0), atol=1e-10)
        expected = several.std(axis=0, ddof=1) / np.sqrt(2)
        np.testing.assert_allclose(parts.standard_errors, expected, atol=1e-10)


def test_what_a_row_lacks_has_no_error(data):
    X, y = data
    X = {"a": X["a"].copy(), "v": X["v"]}
    model = MROClassifier(n_members=2, **SMALL).fit(X, y)
    X["a"][:10] = np.nan
    parts = model.decompose(X)
    lacking = [i for i, term in enumerate(parts.terms) if "a" in term.modalities]
    assert (parts.standard_errors[:10, lacking] == 0).all()
    left = [i for i in range(len(parts.terms)) if i not in lacking]
    assert (parts.standard_errors[:10, left] > 0).all()


def test_a_bootstrap_of_one_net_says_that_it_has_no_errors(data):
    model = MROClassifier(bootstrap=True, **SMALL)
    with pytest.warns(UserWarning, match="a third of the rows, and has no standard errors"):
        assert model.fit(*data).decompose(data[0]).standard_errors is None


def test_bootstrap_draws_rows_or_persons(data):
    X, y = data
    person = np.repeat(np.arange(30), 4)
    plan = MROClassifier(**SMALL)._plan(X, y, None, person, Shared())
    rng = np.random.RandomState(0)
    rows = _drawn_anew(plan.train, None, rng)
    assert len(rows) == N
    assert float(rows.weight.mean()) == pytest.approx(1.0)
    assert torch.equal(rows.y, plan.train.y[rows.picked])
    assert 0.5 < len(rows.picked.unique()) / N < 0.8  # 1 - 1 / e
    persons = torch.tensor(person)[_drawn_anew(plan.train, person, rng).picked].view(30, 4)
    assert (persons == persons[:, :1]).all()
    assert 0.5 < len(persons.unique()) / 30 < 0.8
    unequal = np.repeat(np.arange(15), np.arange(1, 16))  # 120 rows
    assert len(_drawn_anew(plan.train, unequal, rng)) == N
    model = MROClassifier(n_members=3, bootstrap=True, **SMALL)
    drawn = model.fit(X, y, groups=person).decompose(X).standard_errors.mean()
    assert drawn > MROClassifier(n_members=3, **SMALL).fit(X, y).decompose(X).standard_errors.mean()


def test_relevances_of_nets_are_averaged(data):
    X, y = data
    model = InTenseClassifier(n_members=2, n_bootstrap=5, **SMALL).fit(X, y)
    interval = model.relevance_interval_
    assert (interval["low"] <= interval["high"]).all()
    assert pooled([None, "chance", "chance"]) == "chance"
    assert pooled([None, None, "chance"]) is None
    assert pooled([1.0, 2.0]) == 1.5


def test_a_users_modules_cannot_stand_side_by_side(data):
    X, y = data
    model = MRORegressor(encoder=lambda: torch.nn.Linear(3, 2), modalities=["a"], n_members=2)
    with pytest.raises(ValueError, match="fit several estimators that differ in random_state"):
        model.fit(X, y)


def test_a_net_that_diverges_fails_the_ensemble(data):
    X, y = data
    model = MRORegressor(n_members=2, learning_rate=1e200, max_grad_norm=None, **SMALL)
    with pytest.raises(FloatingPointError, match="Try a smaller learning_rate"):
        model.fit(X, y)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (InTenseClassifier, {"batch_size": 4, "n_bootstrap": 0}),
        (SMURFClassifier, {"penalty_batch_size": 100, "batch_size": 59}),
        (MutualDependencyClassifier, {"n_critic_steps": 1, "batch_size": 59}),
    ],
)
def test_every_row_of_a_bootstrap_counts(data, method, params, seed):
    X, y = data
    model = method(n_members=2, bootstrap=True, **{**SMALL, **params, "random_state": seed})
    assert np.isfinite(model.fit(X, y).predict_proba(X)).all()


class Listening:
    """Counts epochs."""

    begun = 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        type(self).begun += context.task_name == "epoch"

    def on_fit_task_end(self, estimator, context):
        return False

    def teardown(self, estimator, context):
        pass


def test_callbacks_hear_of_the_epochs_of_every_net(data):
    X, y = data
    Listening.begun = 0
    MROClassifier(n_members=3, **SMALL).set_callbacks(Listening()).fit(X, y)
    assert Listening.begun == 3 * 20


def test_half_an_ensemble_is_none(data, monkeypatch):
    X, y = data

    def interrupted(plan, hooks=None):
        result = TrainingResult([{"epoch": 1, "train_loss": 1.0}], 1)
        result.interrupted = True
        return result

    monkeypatch.setattr("sklearn_mmfuse.estimators._ensemble.train_alone", interrupted)
    with pytest.raises(KeyboardInterrupt):
        # Which no stack holds.
        FusionClassifier(n_members=2, net_params={"optimizer": torch.optim.SGD}, **SMALL).fit(X, y)
