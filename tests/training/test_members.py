"""Many fits at once: every member is the fit that it would be alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MutualDependencyClassifier,
    MutualDependencyRegressor,
    RoutingClassifier,
    SMURFClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse._training import DivergedError, _critic, _members
from sklearn_mmfuse._training._member_optimizer import MemberAdamW, clip_gradients
from sklearn_mmfuse.estimators._fitting import Shared
from sklearn_mmfuse.estimators._stacks import alike
from sklearn_mmfuse.estimators._together import train_together
from tests.training._data import N, sequences, vectors

COMMON = {"max_epochs": 6, "dtype": "float64", "batch_size": 16, "hidden_layer_sizes": (6,)}
RATES = (1e-3, 3e-2, 1e-2)


def fit_together(estimators, X, y, **fit_params):
    """Return the estimators, fitted as members of one net."""
    shared = Shared()
    weight, groups = fit_params.get("sample_weight"), fit_params.get("groups")
    plans = [e._plan(X, y, weight, groups, shared) for e in estimators]
    assert all(alike(plans[0], plan) for plan in plans)
    outcomes = train_together(estimators[0]._build_net, plans)
    for estimator, plan, outcome in zip(estimators, plans, outcomes, strict=True):
        estimator._complete(plan, outcome)
    return estimators


def assert_same_as_alone(estimators, X, y, atol=1e-9, **fit_params):
    for member in fit_together(estimators, X, y, **fit_params):
        # With `net_params`, skorch trains.
        alone = clone(member).set_params(net_params={}).fit(X, y, **fit_params)
        assert member.n_iter_ == alone.n_iter_
        assert member.best_epoch_ == alone.best_epoch_
        for ours, theirs in zip(member.history_, alone.history_, strict=True):
            assert ours["epoch"] == theirs["epoch"]
            assert list(ours) == list(theirs)
            for told in set(ours) - {"epoch", "dur"}:
                assert ours[told] == pytest.approx(theirs[told], abs=atol, nan_ok=True)
        np.testing.assert_allclose(
            member.decompose(X, purify=False).values,
            alone.decompose(X, purify=False).values,
            atol=atol,
            rtol=0,
        )


METHODS = [
    (MROClassifier, {}),
    (MROClassifier, {"hidden_layer_sizes": (6, 5), "activation": "gelu"}),
    (MRORegressor, {"optimization": "joint", "loss": "absolute_error"}),
    (MROClassifier, {"optimization": "smro"}),
    (MRORegressor, {"optimization": "smro", "fusion": "tensor", "share_encoders": True}),
    (SMURFClassifier, {"max_order": 2}),
    (SMURFRegressor, {"penalty_batch_size": 40}),
    (SMURFRegressor, {"factorization": "ehgr"}),
    (InTenseClassifier, {"max_order": 3, "n_bootstrap": 0, "weight_decay": 1e-4}),
    (InTenseRegressor, {"normalization": None, "n_bootstrap": 0, "weight_decay": 1e-4}),
    (RoutingClassifier, {}),
    (FusionClassifier, {"fusion": "late"}),
    (FusionClassifier, {"fusion": "concat"}),
    (FusionClassifier, {"fusion": "tensor"}),
    (FusionClassifier, {"fusion": "low_rank"}),
    (MutualDependencyClassifier, {"dependency": "kl", "n_critic_steps": 3}),
    (MutualDependencyRegressor, {"dependency": "f", "fusion": "concat", "n_critic_steps": 2}),
    (MutualDependencyClassifier, {"reg_lambda": 0.0, "n_critic_steps": 2}),
    (MutualDependencyRegressor, {"max_grad_norm": 0.1, "critic_dropout": 0.0}),
]


@pytest.mark.parametrize("one_stream", [True, False])
@pytest.mark.parametrize(("method", "params"), METHODS)
def test_a_member_is_what_it_is_alone(method, params, one_stream):
    X, y = vectors()
    y = (y > 0).astype(int) if hasattr(method, "predict_proba") else y
    common = COMMON | {"dropout": 0.3, "early_stopping": True, "n_iter_no_change": 2} | params
    estimators = [
        method(learning_rate=rate, random_state=0 if one_stream else i, **common)
        for i, rate in enumerate(RATES)
    ]
    # The last fit of InTense stops at a tolerance, and magnifies what rounding did to features.
    atol = 1e-6 if method in (InTenseClassifier, InTenseRegressor) else 1e-9
    assert_same_as_alone(estimators, X, y, atol)


@pytest.mark.parametrize("one_stream", [True, False])
@pytest.mark.parametrize(
    ("encoder", "fusion"),
    [
        ("gru", "concat"),
        ("lstm", "concat"),
        ("conv1d", "concat"),
        ("mean", "tensor"),
        ("transformer", "late"),
        ("mult", "concat"),
        ("auto", "ef_lstm"),
        ("auto", "mfn"),
    ],
)
def test_members_read_sequences(encoder, fusion, one_stream):
    X, y = sequences(lengths=fusion not in ("ef_lstm", "mfn"))
    if fusion in ("ef_lstm", "mfn"):
        X["t"] = np.concatenate([X["t"], X["t"][:, :1]], axis=1)
    common = COMMON | {"max_epochs": 2, "dropout": 0.2, "encoder": encoder, "fusion": fusion}
    estimators = [
        clone(FusionClassifier(**common)).set_params(
            learning_rate=rate, random_state=0 if one_stream else i, max_epochs=1 + i
        )
        for i, rate in enumerate(RATES[:2])
    ]
    assert_same_as_alone(estimators, X, y)


@pytest.mark.parametrize("one_stream", [True, False])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (MROClassifier, {"modality_dropout": 0.2}),
        (SMURFClassifier, {"penalty_batch_size": 40}),
        (SMURFClassifier, {"factorization": "ehgr"}),
        (InTenseClassifier, {"n_bootstrap": 0}),
        (RoutingClassifier, {}),
        (FusionClassifier, {"fusion": "concat"}),
    ],
)
def test_members_lack_modalities_and_weigh_rows(method, params, one_stream):
    X, y = vectors()
    X["a"][::7], X["v"][3::8] = np.nan, np.nan
    y = (y > 0).astype(int)
    weight = np.random.default_rng(5).uniform(0.5, 2.0, size=N)
    estimators = [
        method(learning_rate=rate, random_state=0 if one_stream else i, **(COMMON | params))
        for i, rate in enumerate(RATES)
    ]
    atol = 1e-6 if method is InTenseClassifier else 1e-9
    assert_same_as_alone(estimators, X, y, atol, sample_weight=weight)


def test_all_that_may_differ_between_members_does():
    X, y = vectors()
    y = (y > 0).astype(int)
    settings = [
        {"weight_decay": 0.1, "dropout": 0.5, "max_grad_norm": None, "interaction_weight": 3.0},
        {"learning_rate": 0.05, "class_weight": "balanced", "max_epochs": 3},
        {"random_state": 7, "reg_lambda": 0.5, "p": 2.0, "n_iter_no_change": 1},
        {"early_stopping": True, "validation_fraction": 0.2, "max_grad_norm": 0.01, "p": 1.5},
    ]
    base = InTenseClassifier(**COMMON, early_stopping=True, random_state=0, n_bootstrap=0)
    estimators = [clone(base).set_params(**setting) for setting in settings[:3]]
    assert_same_as_alone(estimators, X, y, atol=1e-6)
    # Another number of training rows is another stack.
    other = clone(base).set_params(**settings[3])
    assert not alike(estimators[0]._plan(X, y, None, None, Shared()), _plan(other, X, y))


def test_critics_differ_in_what_they_weigh_and_how_they_step():
    X, y = vectors()
    y = (y > 0).astype(int)
    base = MutualDependencyClassifier(**COMMON, dependency="kl", n_critic_steps=3, random_state=0)
    settings = [
        {"critic_learning_rate": 1e-2, "max_epochs": 2},
        {"reg_lambda": 2.0, "learning_rate": 0.05},
        {"random_state": 7, "max_grad_norm": None},
    ]
    estimators = [clone(base).set_params(**setting) for setting in settings]
    assert_same_as_alone(estimators, X, y)
    for other in ({"reg_lambda": 0.0}, {"n_critic_steps": 1}, {"critic_dropout": 0.1}):
        different = clone(base).set_params(**other)
        assert not alike(_plan(base, X, y), _plan(different, X, y))


def test_what_critics_draw_does_not_depend_on_how_much_is_read_at_once(monkeypatch):
    X, y = vectors()
    model = MutualDependencyRegressor(**COMMON, n_critic_steps=3, random_state=0)
    at_once = model.fit(X, y).predict(X)
    monkeypatch.setattr(_critic, "rows_at_once", lambda blocks: 1)
    np.testing.assert_allclose(model.fit(X, y).predict(X), at_once, atol=1e-9, rtol=0)


def test_critics_of_incomplete_rows_share_them_or_play_alone():
    X, y = vectors()
    X["a"][::7], X["v"][3::8] = np.nan, np.nan
    y = (y > 0).astype(int)
    base = MutualDependencyClassifier(**COMMON, n_critic_steps=2, random_state=0)
    shared, params = Shared(), {"learning_rate": 0.05, "reg_lambda": 1.0}
    one, other, apart = (
        clone(base).set_params(**setting)._plan(X, y, None, None, shared)
        for setting in ({}, params, {"random_state": 1})
    )
    assert alike(one, other)
    assert not alike(one, apart)
    assert_same_as_alone([clone(base), clone(base).set_params(**params)], X, y)


def _plan(estimator, X, y):
    return estimator._plan(X, y, None, None, Shared())


@pytest.mark.parametrize(
    "params",
    [
        {"max_order": 1},
        {"hidden_layer_sizes": (7,)},
        {"fusion": "tensor"},
        {"batch_size": 32},
        {"net_params": {}},
        {"net_params": {"optimizer": torch.optim.SGD}},
        {"optimization": "joint"},
        {"dtype": "float32"},
    ],
)
def test_what_cannot_be_stacked_is_not(params):
    X, y = vectors()
    base = MRORegressor(**COMMON, random_state=0)
    assert alike(_plan(base, X, y), _plan(clone(base).set_params(learning_rate=0.1), X, y))
    assert not alike(_plan(base, X, y), _plan(clone(base).set_params(**params), X, y))


def test_a_member_that_diverges_leaves_the_others_alone():
    X, y = vectors()
    estimators = [
        MRORegressor(learning_rate=rate, max_grad_norm=None, random_state=0, **COMMON)
        for rate in (1e-3, 1e200, 1e-2)
    ]
    plans = [_plan(estimator, X, y) for estimator in estimators]
    outcomes = train_together(estimators[0]._build_net, plans)
    assert isinstance(outcomes[1], DivergedError)
    for position in (0, 2):
        estimators[position]._complete(plans[position], outcomes[position])
        alone = clone(estimators[position]).fit(X, y)
        np.testing.assert_allclose(
            estimators[position].predict(X), alone.predict(X), atol=1e-9, rtol=0
        )


def test_float32_members_are_close_to_what_they_are_alone():
    X, y = vectors()
    common = {**COMMON, "dtype": "float32"}
    estimators = [MRORegressor(learning_rate=r, random_state=0, **common) for r in RATES]
    assert_same_as_alone(estimators, X, y, atol=1e-4)


def test_adamw_is_that_of_torch_for_every_member():
    rates, decays = [0.1, 0.1, 0.01], [0.0, 0.0, 0.5]
    start = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    net = torch.nn.Module()
    net.weight = torch.nn.Parameter(start.clone())
    net.bias = torch.nn.Parameter(start[:, 0].clone())
    optimizer = MemberAdamW(net, rates, decays, decays={"*bias*": "never"})
    singles = []
    for e in range(3):
        weight, bias = (torch.nn.Parameter(s[e].clone()) for s in (start, start[:, 0]))
        groups = [{"params": [weight], "weight_decay": decays[e]}, {"params": [bias]}]
        singles.append((weight, bias, torch.optim.AdamW(groups, lr=rates[e], weight_decay=0.0)))
    for step in range(5):
        if step == 3:  # the first member is done
            kept = torch.tensor([1, 2])
            for parameter in net.parameters():
                parameter.data, parameter.grad = parameter.data[kept], None
            optimizer.take(kept)
            singles = singles[1:]
        for parameter in net.parameters():
            parameter.grad = None
        ((net.weight**3).sum() + (net.bias**2).sum()).backward()
        optimizer.step()
        for weight, bias, single in singles:
            single.zero_grad()
            ((weight**3).sum() + (bias**2).sum()).backward()
            single.step()
    for e, (weight, bias, _) in enumerate(singles):
        torch.testing.assert_close(net.weight[e], weight)
        torch.testing.assert_close(net.bias[e], bias)


def test_gradients_are_clipped_per_member():
    net = torch.nn.Module()
    net.weight = torch.nn.Parameter(torch.zeros(3, 4))
    net.weight.grad = torch.tensor([[3.0, 4.0, 0, 0], [0.3, 0.4, 0, 0], [3.0, 4.0, 0, 0]])
    clip_gradients([net.weight], torch.tensor([1.0, 1.0, float("inf")]))
    lengths = net.weight.grad.norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 0.5, 5.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(("optimization", "cut_in"), [("mro", 4), ("smro", 4), ("smro", 9)])
def test_ctrl_c_keeps_the_best_of_a_single_net(monkeypatch, early_stopping, optimization, cut_in):
    X, y = vectors()
    run, begun = _members._PartTraining._run_epoch, []

    def interrupted(self, epoch):
        begun.append(epoch)
        if len(begun) == cut_in:
            raise KeyboardInterrupt
        run(self, epoch)

    monkeypatch.setattr(_members._PartTraining, "_run_epoch", interrupted)
    model = MRORegressor(
        optimization=optimization,
        early_stopping=early_stopping,
        n_iter_no_change=10,
        random_state=0,
        **COMMON,
    )
    with pytest.warns(UserWarning, match=f"interrupted in epoch {cut_in}"):
        model.fit(X, y)
    assert model.n_iter_ == cut_in - 1
    assert 1 <= model.best_epoch_ <= cut_in - 1
    orders = model.decompose(X).by_order()
    if optimization == "smro":  # six epochs for each order
        assert np.abs(orders[3]).max() == 0
        assert (np.abs(orders[2]).max() > 0) == (cut_in == 9)


def test_ctrl_c_ends_several_nets(monkeypatch):
    X, y = vectors()

    def interrupted(self, epoch):
        raise KeyboardInterrupt

    monkeypatch.setattr(_members._PartTraining, "_run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        MRORegressor(n_members=2, **COMMON).fit(X, y)


def test_decays_of_interactions_are_each_members_own():
    X, y = vectors()  # 12 features of 90 rows
    common = {"hidden_layer_sizes": (6,), "dtype": "float64", "early_stopping": False}
    estimators = [
        MRORegressor(weight_decay=decay, max_epochs=epochs, random_state=0, **common)
        for decay, epochs in (("auto", 4), (3.0, 9), ("auto", 7))
    ]
    assert_same_as_alone(estimators, X, y)
