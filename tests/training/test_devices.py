"""Steps on another device without having one: torch's "meta" has no values, but mixes with none."""

import copy
from dataclasses import replace
from functools import partial

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
from sklearn_mmfuse._training import _batches, _gradients, _members, fit_members, fit_network
from sklearn_mmfuse._training._critic import CriticPlayer
from sklearn_mmfuse._training._tape import Tape
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
    nothing = lambda player, *rows: np.full(player.net.n_members, 0.5)  # noqa: E731
    monkeypatch.setattr(CriticPlayer, "pop_bounds", nothing)
    measure = CriticPlayer.measure
    monkeypatch.setattr(
        CriticPlayer, "measure", lambda player, rows: bound_of(measure, player, rows)
    )
    # Of incomplete rows, which are there without values, every other one.
    monkeypatch.setattr(torch.Tensor, "nonzero", every_other)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 0.5)
    monkeypatch.setattr(torch.optim, "AdamW", Unfused)


@pytest.fixture(autouse=True)
def steps_are_recorded(monkeypatch):
    """From the second batch of a kind on; what moves between devices would be refused."""
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    monkeypatch.setattr(_gradients, "_close", lambda result, expected: True)
    leave = Tape.__exit__

    def told(tape, *args):
        assert tape.refusal is None
        return leave(tape, *args)

    monkeypatch.setattr(Tape, "__exit__", told)


def every_other(tensor):
    return torch.arange(0, len(tensor), 2, device=tensor.device).unsqueeze(1)


def bound_of(measure, player, rows):
    """Measure, but for the way back."""
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        measure(player, rows)
    return np.full(player.net.n_members, 0.5)


def plan_of(estimator, X):
    plan = estimator._plan(X, make_target(make_blocks(), "binary"), None, None, Shared())
    plan.options = replace(plan.options, device=META)
    return plan


def train_members(estimator, X, n_members=2, one_stream=False):
    plan = plan_of(estimator, X)
    net = estimator._build_net({**plan.config, "n_members": n_members}).float()
    nets = [copy.deepcopy(plan.net) for _ in range(n_members)]
    members = [
        replace(plan.member(), net=net, seed=0 if one_stream else seed)
        for seed, net in enumerate(nets)
    ]
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
        assert "Cannot copy out of meta tensor" in str(error), error
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


@pytest.mark.parametrize("engine", [train_members, train_by_skorch])
@pytest.mark.parametrize("dependency", ["wasserstein", "kl"])
@pytest.mark.parametrize("make", [make_blocks, with_gaps])
def test_the_critic_stays_on_its_device(engine, dependency, make):
    model = MutualDependencyClassifier(**COMMON, dependency=dependency)
    if engine is train_members and make is with_gaps:
        engine = partial(engine, one_stream=True)
    assert_all_steps_are_taken(engine, model, make())


@pytest.mark.parametrize("engine", [train_members, train_by_skorch])
@pytest.mark.parametrize(
    ("method", "params", "make"),
    [
        *((method, {}, make_blocks) for method in METHODS),
        (MROClassifier, {"modality_dropout": 0.3}, with_gaps),
        (MROClassifier, {"optimization": "smro", "encoder": "gru"}, sequences),
        (InTenseClassifier, {}, with_gaps),
        (SMURFClassifier, {"penalty_batch_size": 60}, make_blocks),
        (MutualDependencyClassifier, {"dependency": "kl"}, make_blocks),
        (MutualDependencyClassifier, {"dependency": "wasserstein"}, with_gaps),
    ],
)
def test_inputs_without_room_are_sent_to_the_device(engine, method, params, make, monkeypatch):
    monkeypatch.setattr(_batches, "room_on", lambda device: 0 if device == META else np.inf)
    if engine is train_members and method is MutualDependencyClassifier and make is with_gaps:
        engine = partial(engine, one_stream=True)
    assert_all_steps_are_taken(engine, method(**COMMON | params), make())
