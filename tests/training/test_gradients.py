"""Steps that are recorded and replayed are those that are computed as they are written."""

import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MutualDependencyClassifier,
    RoutingClassifier,
    SMURFClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse._training import _cuda_graph, _gradients
from sklearn_mmfuse._training._cuda_graph import CUDAGraph, capture
from sklearn_mmfuse._training._gradients import StepGradients, _RecordedStep
from sklearn_mmfuse._training._tape import Tape
from tests.training._data import sequences, vectors

COMMON = {"batch_size": 16, "hidden_layer_sizes": (6,), "random_state": 0, "dropout": 0.3}
NEVER = 10**9


def fitted(model, X, y, monkeypatch, before):
    """Fit, recording after so many batches of a kind.

    Return what all terms are, and the losses; refusals; how many steps were replayed.
    """
    refusals, replays = [], []
    leave, replay = Tape.__exit__, _RecordedStep.replay
    with monkeypatch.context() as patch:
        patch.setattr(_gradients, "BEFORE_RECORDING", before)
        patch.setattr(
            Tape, "__exit__", lambda tape, *a: (refusals.append(tape.refusal), leave(tape, *a))[1]
        )
        patch.setattr(
            _RecordedStep, "replay", lambda step, *a: (replays.append(step), replay(step, *a))[1]
        )
        y = (y > 0).astype(int) if hasattr(model, "predict_proba") else y
        model.fit(X, y)
    told = [[own[key] for key in sorted(own) if key != "dur"] for own in model.history_]
    return (model.decompose(X, purify=False).values, np.array(told)), refusals, len(replays)


def assert_recorded_is_written(model, X, y, monkeypatch):
    recorded, refusals, n_replays = fitted(clone(model), X, y, monkeypatch, 2)
    assert not any(refusals)
    assert n_replays > len(refusals) > 0
    written, none, n_replays = fitted(clone(model), X, y, monkeypatch, NEVER)
    assert not none
    assert n_replays == 0
    for ours, theirs in zip(recorded, written, strict=True):
        np.testing.assert_array_equal(ours, theirs)


METHODS = [
    (MROClassifier, {}),
    (MROClassifier, {"hidden_layer_sizes": (6, 5), "activation": "gelu"}),
    (MROClassifier, {"optimization": "smro"}),
    (MROClassifier, {"early_stopping": True, "n_iter_no_change": 1, "n_members": 3}),
    (MRORegressor, {"fusion": "tensor", "share_encoders": True, "dtype": "float64"}),
    (SMURFClassifier, {"max_order": 2, "n_members": 2}),
    (SMURFRegressor, {"penalty_batch_size": 40}),
    (SMURFRegressor, {"factorization": "ehgr"}),
    (InTenseClassifier, {"n_bootstrap": 0, "early_stopping": True}),
    (InTenseRegressor, {"n_bootstrap": 0, "max_order": 3, "n_members": 2}),
    (RoutingClassifier, {}),
    (FusionClassifier, {"fusion": "low_rank"}),
    (MutualDependencyClassifier, {"dependency": "kl", "n_critic_steps": 2, "n_members": 2}),
    (MutualDependencyClassifier, {"dependency": "wasserstein", "n_critic_steps": 1}),
]


@pytest.mark.parametrize(("method", "params"), METHODS)
@pytest.mark.parametrize("gaps", [False, True])
def test_recorded_steps_end_where_written_ones_do(method, params, gaps, monkeypatch):
    X, y = vectors()
    if gaps:
        X["a"][::5] = np.nan
    params = COMMON | {"max_epochs": 4, "modality_dropout": 0.2 if gaps else 0.0} | params
    assert_recorded_is_written(method(**params), X, y, monkeypatch)


@pytest.mark.parametrize("encoder", ["gru", "lstm", "conv1d", "mean", "transformer", "mult"])
def test_steps_of_sequences_are_recorded(encoder, monkeypatch):
    X, y = sequences()
    params = COMMON | {"max_epochs": 3, "encoder": encoder}
    assert_recorded_is_written(FusionClassifier(**params), X, y, monkeypatch)


class Steps:
    """A parameter, `(E, 3)`, and a loss of it that counts how often Python comes by."""

    def __init__(self, decide=False):
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        self.decide, self.calls = decide, 0
        self.step = partial(StepGradients([self.weight]), self.loss)

    def loss(self, batch):
        self.calls += 1
        inputs, target = batch["inputs"], batch["target"]
        if self.decide and float(target.sum()) > 1e6:
            return self.weight.sum(dim=1)
        return (((inputs["X"] @ self.weight.T).T - target) ** 2 * inputs["weight"]).mean(dim=1)

    def expected(self, batch):
        X, weight, target = batch["inputs"]["X"], batch["inputs"]["weight"], batch["target"]
        residual = (X @ self.weight.detach().T).T - target
        gradient = (2 * residual * weight) @ X / len(X)
        return (residual**2 * weight).mean(dim=1), gradient


def batch(size, seed):
    rng = torch.Generator().manual_seed(seed)
    X, target = torch.randn(size, 3, generator=rng), torch.randn(size, generator=rng)
    # Shared by members, which takes no memory.
    weight = torch.rand(1, size, generator=rng).expand(2, -1)
    return {"inputs": {"X": X, "weight": weight, "offset": None}, "target": target}


@pytest.mark.parametrize("decide", [False, True])
def test_batches_of_several_sizes_take_turns(decide, monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 2)
    steps = Steps(decide)
    for seed in range(12):
        told = batch(7 if seed % 3 else 4, seed)
        loss = steps.step(told)
        expected, gradient = steps.expected(told)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(steps.weight.grad, gradient)
        with torch.no_grad():
            steps.weight -= 0.1 * steps.weight.grad
    assert steps.calls == (12 if decide else 6)


@pytest.mark.parametrize(("n_certain", "n_written"), [(0, 10), (10, 10), (11, 1)])
def test_the_second_batch_is_recorded_if_many_more_are_certain_to_come(n_certain, n_written):
    steps = Steps()
    steps.step.func.forget(n_certain=n_certain)
    for seed in range(14):
        loss = steps.step(batch(5, seed))
        torch.testing.assert_close(loss, steps.expected(batch(5, seed))[0])
    assert steps.calls == n_written + 1  # the recorded one runs as well


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_epochs": 30}, [30]),
        ({"max_epochs": 30, "early_stopping": True, "n_iter_no_change": 12}, [12]),
        ({"max_epochs": 8, "early_stopping": True, "n_iter_no_change": 12}, [8]),
        ({"max_epochs": 30, "optimization": "smro"}, [30, 30, 30]),
    ],
)
def test_epochs_are_certain_to_come_until_a_member_may_leave(params, expected, monkeypatch):
    told, forget = [], StepGradients.forget

    def noted(step, n_certain=-1, **more):
        told.append(n_certain)
        forget(step, n_certain=n_certain, **more)

    monkeypatch.setattr(StepGradients, "forget", noted)
    X, y = vectors()
    MROClassifier(**COMMON | {"early_stopping": False} | params).fit(X, y > 0)
    assert [n for n in told if n > 0] == expected


def test_what_finishes_gradients_is_recorded_with_them(monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    weight = nn.Parameter(torch.ones(2, 3))
    step, factor, calls = StepGradients([weight]), torch.ones(()), []

    def finish():
        calls.append(1)
        with torch.no_grad():
            weight.grad.mul_(factor)

    step.forget(finish=finish)
    for seed in range(5):
        x = torch.full((4, 3), float(seed))
        factor.fill_(seed + 1.0)
        step(lambda b: (weight @ b["x"].T).mean(dim=1), {"x": x})
        torch.testing.assert_close(weight.grad, x.mean(dim=0).expand(2, -1) * (seed + 1.0))
    assert len(calls) == 2  # once as written, once recorded


def test_losses_are_not_overwritten_by_those_of_later_batches(monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    steps = Steps()
    losses = [steps.step(batch(5, seed)) for seed in range(5)]
    for seed, loss in enumerate(losses):
        torch.testing.assert_close(loss, steps.expected(batch(5, seed))[0])


def test_replaced_parameters_are_read_once_what_was_recorded_is_forgotten(monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    steps = Steps()
    for seed in range(4):
        steps.step(batch(5, seed))
    steps.weight.data, steps.weight.grad = -steps.weight.data.clone(), None
    steps.step.func.forget()
    for seed in range(4):
        loss = steps.step(batch(5, seed))
        torch.testing.assert_close(loss, steps.expected(batch(5, seed))[0])


def test_a_replay_that_comes_to_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    monkeypatch.setattr(Tape, "replay", lambda tape: None)
    steps = Steps()
    for seed in range(5):
        loss = steps.step(batch(5, seed))
        expected, gradient = steps.expected(batch(5, seed))
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(steps.weight.grad, gradient)
    assert steps.calls == 5


def test_a_replay_that_fails_is_not_used(monkeypatch):
    def fail(tape):
        raise RuntimeError("Expected a value of type 'List[Tensor]' for argument 'out'")

    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    monkeypatch.setattr(Tape, "replay", fail)
    steps = Steps()
    for seed in range(5):
        loss = steps.step(batch(5, seed))
        torch.testing.assert_close(loss, steps.expected(batch(5, seed))[0])


# CUDA graphs, without a GPU ----------------------------------------------------------------------


class Graph:
    """Like torch's: it computes on memory that it does not keep."""

    def __init__(self, tape, spoil):
        self.tape, self.spoil, self.replays = weakref.ref(tape), spoil, 0

    def replay(self):
        self.replays += 1
        tape = self.tape()
        assert tape is not None, "the memory of this graph is that of others by now"
        tape.replay()
        self.spoil()


@pytest.mark.parametrize("how", ["captured", "spoiled", "refused"])
def test_a_graph_is_used_if_it_comes_to_the_same(how, monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    steps, graphs = Steps(), []

    def capture(tape, device):
        if how == "refused":
            return None
        spoil = (lambda: steps.weight.grad.add_(1.0)) if how == "spoiled" else (lambda: None)
        graphs.append(Graph(tape, spoil))
        return CUDAGraph(graphs[0], tape)

    monkeypatch.setattr(_gradients, "capture", capture)
    for seed in range(6):
        loss = steps.step(batch(5, seed))
        expected, gradient = steps.expected(batch(5, seed))
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(steps.weight.grad, gradient)
    assert steps.calls == 2  # one as written, one recorded; the others were replayed
    assert [graph.replays for graph in graphs] == {
        "captured": [5],
        "spoiled": [1],
        "refused": [],
    }[how]


class FakeCuda:
    """What a capture calls of `torch.cuda`; with `fails`, the capture does."""

    def __init__(self, fails=False):
        self.fails, self.streams, self.captured_on, self.inside = fails, [], [], 0

    def Stream(self, device):  # noqa: N802
        self.streams.append(self)
        return self

    def current_stream(self):
        return self

    def wait_stream(self, other):
        pass

    @contextmanager
    def device(self, device):
        yield

    stream = device

    def CUDAGraph(self):  # noqa: N802
        return self

    @contextmanager
    def graph(self, graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        self.inside += 1
        assert self.inside == 1, "torch allows one capture at a time"
        time.sleep(0.01)
        yield
        self.inside -= 1
        self.captured_on.append(stream)
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def fake_cuda(monkeypatch):
    fake = FakeCuda()
    for name in ("Stream", "current_stream", "device", "stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    _cuda_graph._aside.cache_clear()
    yield fake
    _cuda_graph._aside.cache_clear()


def test_captures_share_a_stream_and_come_one_after_the_other(fake_cuda):
    with Tape() as tape:
        torch.ones(2) * 3
    device = torch.device("cuda", 0)
    with ThreadPoolExecutor(4) as threads:
        graphs = list(threads.map(lambda _: capture(tape, device), range(8)))
    assert all(graph.tape is tape for graph in graphs)
    assert len(fake_cuda.streams) == 1
    assert len(fake_cuda.captured_on) == 8
    fake_cuda.fails = True
    assert capture(tape, device) is None
    fake_cuda.fails = False
    assert capture(tape, device) is not None


def test_parameters_may_be_empty(monkeypatch):
    monkeypatch.setattr(_gradients, "BEFORE_RECORDING", 1)
    empty, weight = nn.Parameter(torch.zeros(2, 0)), nn.Parameter(torch.ones(2, 3))
    step = StepGradients([empty, weight])
    for seed in range(4):
        x = batch(5, seed)["inputs"]["X"]
        step(lambda b: (weight @ b["x"].T).mean(dim=1) + empty.sum(dim=1), {"x": x})
        torch.testing.assert_close(weight.grad, x.mean(dim=0).expand(2, -1))


def test_on_a_cpu_nothing_is_captured():
    assert capture(Tape(), torch.device("cpu")) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", [MROClassifier, SMURFClassifier, InTenseClassifier])
def test_graphs_end_where_written_steps_do(method, monkeypatch):
    made = []
    monkeypatch.setattr(
        _gradients, "capture", lambda *args: made.append(capture(*args)) or made[-1]
    )
    X, y = vectors()
    params = COMMON | {"max_epochs": 4, "device": "cuda", "dtype": "float64"}
    (recorded, _), *_ = fitted(method(**params), X, y, monkeypatch, 2)
    assert made
    assert None not in made
    (written, _), *_ = fitted(method(**params), X, y, monkeypatch, NEVER)
    np.testing.assert_allclose(recorded, written, atol=1e-9)
