"""Steps on another device without having one: torch's "meta" has no values, but mixes with none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    MROClassifier,
    MutualDependencyClassifier,
    RoutingClassifier,
    SMURFClassifier,
)
from sklearn_mmfuse._training import _members, fit_members, fit_network
from sklearn_mmfuse.estimators._fitting import Shared
from tests.estimators._data import make_blocks, make_target

COMMON = {"max_epochs": 2, "random_state": 0, "batch_size": 32, "early_stopping": True}
METHODS = [MROClassifier, SMURFClassifier, InTenseClassifier, RoutingClassifier, FusionClassifier]
META = torch.device("meta")


class Unfused(torch.optim.AdamW):
    """The fused one is for devices with values."""

    def __init__(self, *args, fused, **kwargs):
        super().__init__(*args, **kwargs)


@pytest.fixture(autouse=True)
def losses_have_no_values(monkeypatch):
    monkeypatch.setattr(
        _members, "_mean_losses", lambda losses, sizes: np.full(len(losses[0]), 0.5)
    )
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 0.5)
    monkeypatch.setattr(torch.optim, "AdamW", Unfused)


def plan_of(estimator, X):
    plan = estimator._plan(X, make_target(make_blocks(), "binary"), None, None, Shared())
    plan.options = replace(plan.options, device=META)
    return plan


def train_members(estimator, X, n_members=2):
    plans = [plan_of(estimator, X) for _ in range(n_members)]
    net = estimator._build_net({**plans[0].config, "n_members": n_members}).float()
    members = [replace(plan.member(), seed=seed) for seed, plan in enumerate(plans)]
    fit_members(members, net)


def train_by_skorch(estimator, X):
    plan = plan_of(estimator, X)
    member = plan.member()
    fit_network(
        plan.net, plan.train, plan.validation, member.objective, plan.options, seed=plan.seed
    )


def assert_all_steps_are_taken(train, *args):
    """Only the way back of what was trained fails: there is nothing to bring."""
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor") as caught:
        train(*args)
    error = caught.value
    while error is not None:  # what went wrong before would be behind it
        assert isinstance(error, NotImplementedError), error
        error = error.__context__


def sequences():
    return {name: np.repeat(x[:, np.newaxis], 6, axis=1) for name, x in make_blocks().items()}


def with_gaps():
    X = make_blocks()
    X["audio"][::7] = np.nan
    return X


@pytest.mark.parametrize("engine", [train_members, train_by_skorch])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("params", "make"),
    [
        ({}, make_blocks),
        ({"early_stopping": False}, make_blocks),
        ({"modality_dropout": 0.3}, with_gaps),
        ({"encoder": "gru"}, sequences),
    ],
)
def test_every_method_stays_on_its_device(engine, method, params, make):
    assert_all_steps_are_taken(engine, method(**COMMON | params), make())


@pytest.mark.parametrize("engine", [train_members, train_by_skorch])
@pytest.mark.parametrize(
    "params",
    [
        {"optimization": "smro"},
        {"fusion": "tensor"},
        {"share_encoders": True},
        {"encoder": "transformer"},
        {"encoder": "conv1d"},
        {"encoder": "mean"},
    ],
)
def test_every_form_of_mro_stays_on_its_device(engine, params):
    X = sequences() if "encoder" in params else make_blocks()
    assert_all_steps_are_taken(engine, MROClassifier(**COMMON | params), X)


@pytest.mark.parametrize("engine", [train_members, train_by_skorch])
@pytest.mark.parametrize(
    "fusion", ["tensor", "low_rank", "ef_lstm", "lf_lstm", "mfn", "mult", "raven"]
)
def test_every_fusion_stays_on_its_device(engine, fusion):
    X = make_blocks() if fusion in ("tensor", "low_rank") else sequences()
    assert_all_steps_are_taken(engine, FusionClassifier(**COMMON, fusion=fusion), X)


@pytest.mark.parametrize("dependency", ["wasserstein", "kl"])
@pytest.mark.parametrize("make", [make_blocks, with_gaps])
def test_the_critic_stays_on_its_device(dependency, make):
    model = MutualDependencyClassifier(**COMMON, dependency=dependency)
    assert_all_steps_are_taken(train_by_skorch, model, make())
