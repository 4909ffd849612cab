"""Fits on another device without having one: what a GPU refuses, or waits for, shows here."""

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MutualDependencyClassifier,
    RoutingClassifier,
    RoutingRegressor,
    SMURFClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse._training import _gradients, _rows
from sklearn_mmfuse._training._adamw import StepAtOnce
from sklearn_mmfuse._training._tape import Tape
from sklearn_mmfuse.model_selection import MultimodalSearchCV, _units
from tests.simulated_device import AWAY, Away, SimulatedDevice
from tests.training._data import sequences, vectors

COMMON = {
    "batch_size": 30,
    "dtype": "float64",
    "early_stopping": True,
    "hidden_layer_sizes": (6,),
    "max_epochs": 2,
    "random_state": 0,
}
MDM = {"n_critic_steps": 1, "critic_hidden_layer_sizes": (5,)}
# Torch's fused AdamW is for devices that it knows.
BY_SKORCH = {"net_params": {"optimizer__fused": False}}


@pytest.fixture(autouse=True)
def steps_are_recorded(monkeypatch):
    """From the second of a kind on."""
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)


def fit_there(model, X, y):
    with SimulatedDevice() as device:
        return clone(model).set_params(device=str(AWAY)).fit(X, y), device


def assert_same_there(model, X, y):
    y = y > 0 if is_classifier(model) else y
    there, device = fit_there(model, X, y)
    assert device.n_operations
    assert all(not isinstance(p, Away) for p in there.module_.state_dict().values())
    assert_same_as_here(there, X, y)


def assert_same_as_here(there, X, y, atol=1e-8):
    here = clone(there).set_params(device="cpu").fit(X, y)
    ours, theirs = (own.decompose(X, purify=False).values for own in (there, here))
    np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)
    told = ["train_loss", *(["valid_loss"] if "valid_loss" in here.history_[0] else [])]
    for name in told:
        losses = [[row[name] for row in own.history_] for own in (there, here)]
        np.testing.assert_allclose(*losses, atol=atol, rtol=0)


def with_gaps():
    X, y = vectors()
    X["a"][::5] = np.nan
    return X, y


def aligned():
    X, y = vectors()
    return {name: np.repeat(x[:, np.newaxis], 4, axis=1) for name, x in X.items()}, y


METHODS = [
    (MROClassifier, {}),
    (MROClassifier, {"early_stopping": "auto"}),
    (MROClassifier, {"early_stopping": False, "dropout": 0.3}),
    (MROClassifier, {"optimization": "smro"}),
    (MROClassifier, {"optimization": "joint", "fusion": "tensor"}),
    (MROClassifier, {"share_encoders": True, "class_weight": "balanced", "max_grad_norm": 0.1}),
    (MROClassifier, {"max_order": 3, "n_members": 3, "bootstrap": True}),
    (MROClassifier, {"optimization": "smro", "n_members": 2}),
    (MRORegressor, {"early_stopping": "auto"}),
    (SMURFClassifier, {"early_stopping": "auto"}),
    (SMURFRegressor, {"penalty_batch_size": 60}),
    (InTenseClassifier, {"early_stopping": "auto"}),
    (InTenseRegressor, {"n_members": 2}),
    (RoutingClassifier, {"early_stopping": "auto"}),
    (RoutingRegressor, {}),
    (MutualDependencyClassifier, MDM | {"dependency": "kl"}),
    (MutualDependencyClassifier, MDM | {"dependency": "wasserstein", "n_members": 2}),
]


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_every_method_is_trained_there_as_here(method, params):
    assert_same_there(method(**COMMON | params), *vectors())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (MROClassifier, {"modality_dropout": 0.3}),
        (SMURFClassifier, {}),
        (InTenseClassifier, {"n_bootstrap": 0}),
        (RoutingClassifier, {}),
        (MutualDependencyClassifier, MDM),
        (FusionClassifier, {"modality_dropout": 0.3}),
    ],
)
@pytest.mark.parametrize("engine", [{}, BY_SKORCH])
def test_rows_that_lack_modalities(engine, method, params):
    assert_same_there(method(**COMMON | params | engine), *with_gaps())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        *((method, {}) for method in (MROClassifier, SMURFRegressor, InTenseClassifier)),
        (RoutingClassifier, {}),
        (MROClassifier, {"optimization": "smro"}),
        (MutualDependencyClassifier, MDM),
    ],
)
def test_trained_by_skorch(method, params):
    assert_same_there(method(**COMMON | params | BY_SKORCH), *vectors())


@pytest.mark.parametrize("encoder", ["gru", "lstm", "transformer", "conv1d", "mean"])
def test_every_encoder_of_sequences(encoder):
    assert_same_there(MROClassifier(**COMMON, encoder=encoder), *sequences())


@pytest.mark.parametrize(
    "fusion", ["concat", "late", "tensor", "low_rank", "ef_lstm", "lf_lstm", "mfn", "mult", "raven"]
)
def test_every_fusion(fusion):
    X, y = vectors() if fusion in ("concat", "late", "tensor", "low_rank") else aligned()
    language = {"language": "t"} if fusion == "raven" else {}
    model = FusionClassifier(**COMMON | {"max_epochs": 1}, fusion=fusion, **language)
    assert_same_there(model, X, y)


@pytest.mark.parametrize("engine", [{}, BY_SKORCH])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (MROClassifier, {"n_members": 2}),
        (MROClassifier, {"optimization": "smro"}),
        (SMURFClassifier, {"penalty_batch_size": 60}),
        (InTenseClassifier, {}),
        (MutualDependencyClassifier, MDM),
    ],
)
def test_inputs_without_room_are_sent_in_batches(engine, method, params, monkeypatch):
    monkeypatch.setattr(_rows, "room_on", lambda device: 0 if device == AWAY else np.inf)
    if "n_members" in params and engine:
        pytest.skip("several nets are not trained by skorch")
    assert_same_there(method(**COMMON | params | engine), *vectors())


def test_an_interrupted_fit_is_brought_back():
    X, y = vectors()
    model = MROClassifier(**COMMON | {"max_epochs": 4, "early_stopping": False})
    begun = []

    def interrupt(*args):
        begun.append(args)
        if len(begun) == 8:
            raise KeyboardInterrupt
        return step(*args)

    step = _gradients.StepGradients.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gradients.StepGradients, "__call__", interrupt)
        with pytest.warns(UserWarning, match="interrupted in epoch 3"):
            there, _ = fit_there(model, X, y > 0)
    assert len(there.history_) == 2
    assert there.predict_proba(X).shape == (len(y), 2)


# Many at once ------------------------------------------------------------------------------------


GRID = {"learning_rate": [1e-3, 3e-2, 1e-2], "weight_decay": [0.1, 10.0]}


def search(device, model, y):
    found = MultimodalSearchCV(
        clone(model).set_params(device=device), GRID, cv=2, scoring="neg_log_loss", refit=False
    )
    return found.fit(vectors()[0], y)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (MROClassifier, {"max_epochs": 8, "n_iter_no_change": 1}),
        (MROClassifier, {"learning_rate_schedule": "constant", "max_grad_norm": 0.1}),
        (MROClassifier, {"optimization": "smro", "share_encoders": True}),
        (SMURFClassifier, {}),
        (InTenseClassifier, {"n_bootstrap": 0}),
        (RoutingClassifier, {}),
        (MutualDependencyClassifier, MDM),
        (FusionClassifier, {"fusion": "low_rank"}),
    ],
)
def test_a_search_finds_there_what_it_finds_here(method, params, monkeypatch):
    y, model = vectors()[1] > 0, method(**COMMON | params)
    here = search("cpu", model, y)
    stepped, step = [], StepAtOnce.step
    monkeypatch.setattr(
        StepAtOnce, "step", lambda own, *args: stepped.append(own) or step(own, *args)
    )
    with SimulatedDevice():
        there = search(str(AWAY), model, y)
    assert stepped
    np.testing.assert_allclose(
        there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"], atol=1e-8, rtol=0
    )


def test_all_candidates_of_a_split_are_trained_at_once_there(monkeypatch):
    X, y = vectors()
    grid = {"learning_rate": list(np.logspace(-4, -2, 20))}
    sizes, train = [], _units._train
    monkeypatch.setattr(
        _units, "_train", lambda job, stack: sizes.append(len(stack)) or train(job, stack)
    )
    model = MROClassifier(**COMMON | {"max_epochs": 1})
    with SimulatedDevice():
        for device in ("cpu", str(AWAY)):
            found = MultimodalSearchCV(model.set_params(device=device), grid, cv=2, refit=False)
            found.fit(X, y > 0)
    assert sizes == [10, 10, 10, 10, 20, 20]


# What a GPU would wait for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (MROClassifier, {"dropout": 0.2, "max_grad_norm": 1.0}),
        (MROClassifier, {"early_stopping": False, "n_members": 3, "modality_dropout": 0.2}),
        (SMURFClassifier, {"penalty_batch_size": 60}),
        (InTenseClassifier, {}),
        (RoutingClassifier, {}),
    ],
)
def test_an_epoch_waits_once(method, params):
    X, y = vectors()
    few, more = (
        fit_there(method(**COMMON | params | {"max_epochs": n, "n_iter_no_change": 99}), X, y > 0)
        for n in (3, 8)
    )
    assert len(few[0].history_) < len(more[0].history_)
    assert more[1].n_waits - few[1].n_waits == 5


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_no_step_waits(method, params):
    X, y = vectors()
    model = method(**COMMON | params | {"early_stopping": False})  # folds choose how long
    y = y > 0 if is_classifier(model) else y
    # Both leave a last batch of another size.
    few, many = (fit_there(model.set_params(batch_size=size), X, y)[1] for size in (40, 20))
    assert many.n_operations > few.n_operations
    assert many.n_waits == few.n_waits


@pytest.mark.parametrize("ensemble", [{}, {"n_members": 9}, {"n_members": 9, "bootstrap": True}])
def test_a_step_is_few_calls_however_members_differ(ensemble, monkeypatch):
    """In their settings, or in the rows that they read, and when."""
    X, y = vectors()
    some = {name: block[:60] for name, block in X.items()}
    replay, replayed = Tape.replay, []

    def counted(tape):
        before = device.n_operations
        replay(tape)
        replayed.append(device.n_operations - before)

    monkeypatch.setattr(Tape, "replay", counted)
    calls = []
    for n_epochs in (4, 9):
        params = {"early_stopping": False, "max_epochs": n_epochs, "max_grad_norm": 0.1} | ensemble
        model = MROClassifier(**COMMON | params | {"dropout": 0.2, "device": str(AWAY)})
        split = [(np.arange(60), np.arange(60, 90))]
        search = MultimodalSearchCV(model, GRID, cv=split, refit=False)
        replayed.clear()
        with SimulatedDevice() as device:
            model.fit(some, y[:60] > 0) if ensemble else search.fit(X, y > 0)
        calls.append(device.n_operations - sum(replayed))
    n_steps = 5 * 2
    # An epoch begins with an order of the rows and ends with its losses.
    assert (calls[1] - calls[0]) / n_steps < 40


@pytest.mark.parametrize(("method", "params"), METHODS)
def test_a_recorded_step_needs_nothing_from_here(method, params, monkeypatch):
    """As a capture asks for; numbers of the CPU would stay what they were when it was made."""
    X, y = vectors()
    replay, replays = Tape.replay, []

    def watched(tape):
        for step in tape._steps:
            inputs = [*step.args, *(step.keywords or {}).values()]
            flat = torch.utils._pytree.tree_leaves(inputs)
            assert all(isinstance(own, Away) for own in flat if isinstance(own, torch.Tensor))
        replays.append(tape)
        before = device.n_waits
        replay(tape)
        assert device.n_waits == before

    model = method(**COMMON | params)
    monkeypatch.setattr(Tape, "replay", watched)
    with SimulatedDevice() as device:
        model.set_params(device=str(AWAY)).fit(X, y > 0 if is_classifier(model) else y)
    assert replays


# A GPU --------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("method", "params"), METHODS)
def test_every_method_is_trained_on_a_gpu_as_here(method, params):
    X, y = vectors()
    model = method(**COMMON | params | {"device": "cuda"})
    y = y > 0 if is_classifier(model) else y
    assert_same_as_here(model.fit(X, y), X, y, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", [MROClassifier, SMURFClassifier, InTenseClassifier])
def test_a_search_finds_on_a_gpu_what_it_finds_here(method):
    y, model = vectors()[1] > 0, method(**COMMON | {"max_epochs": 8, "n_iter_no_change": 1})
    found = [search(device, model, y).cv_results_["mean_test_score"] for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*found, atol=1e-6, rtol=0)


# The simulation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda here, there: here + there,
        lambda here, there: there @ here,
        lambda here, there: here[there.long()],
        lambda here, there: torch.stack([here, there]),
        lambda here, there: there.add_(here),
        lambda here, there: there.bernoulli_(0.5, generator=torch.Generator()),
    ],
)
def test_devices_do_not_mix(wrong):
    with SimulatedDevice(), pytest.raises(RuntimeError, match="expected"):
        wrong(torch.ones(2, 2), torch.ones(2, 2).to(AWAY))


def test_what_is_read_is_waited_for():
    with SimulatedDevice() as device:
        there = torch.arange(4.0).to(AWAY, non_blocking=True)
        twice = 2 * there.view(2, 2)
        assert (device.n_operations, device.n_waits) == (2, 0)
        assert twice.sum().item() == 12.0
        torch.testing.assert_close(twice.cpu(), torch.tensor([[0.0, 2.0], [4.0, 6.0]]))
        assert len(there[there > 1]) == 2
        assert there[torch.tensor([3])].to(torch.float64).device == AWAY
        assert device.n_waits == 4
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
