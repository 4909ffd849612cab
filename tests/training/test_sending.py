"""Inputs that a device has no room for: the same nets, from batches that are sent."""

import numpy as np
import pytest
import torch

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    MROClassifier,
    MutualDependencyClassifier,
    RoutingClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse._training import Rows, _rows, _sending
from sklearn_mmfuse._training._batches import BatchSampler, Draws
from tests.training._data import sequences, vectors

COMMON = {"batch_size": 16, "hidden_layer_sizes": (6,), "random_state": 0, "max_epochs": 4}
CPU = torch.device("cpu")


def rows(n=10):
    rng = torch.Generator().manual_seed(0)
    blocks = {"a": torch.rand(n, 3, generator=rng), "t": torch.rand(n, 2, 4, generator=rng)}
    return Rows(blocks, torch.arange(float(n)), torch.ones(n))


@pytest.fixture
def no_room(monkeypatch):
    """Have nothing stay on any device, and count what is sent."""
    sent, send = [], _rows.send
    monkeypatch.setattr(_rows, "room_on", lambda device: 0)
    monkeypatch.setattr(_rows, "send", lambda *args: sent.append(args) or send(*args))
    return sent


def test_what_fits_is_moved_and_what_does_not_is_sent(monkeypatch):
    own = rows()
    assert own.n_bytes == 10 * (3 + 8) * 4
    meta = torch.device("meta")
    for room, on_host in ((own.n_bytes, False), (own.n_bytes - 1, True)):
        monkeypatch.setattr(_rows, "room_on", lambda device, room=room: room)
        there = own.to(meta)
        assert there.on_host is on_host
        assert {x.device.type for x in there.X.values()} == {"cpu" if on_host else "meta"}
        assert {x.device for x in there.sent().receive().values()} == {meta}
        assert there.y.device == there.weight.device == meta
    assert own.to(CPU) is not own
    monkeypatch.undo()
    assert own.to(CPU) is own


def test_rows_that_were_picked_before_are_those_that_are_sent(no_room):
    own = rows().take(torch.tensor([7, 3, 3, 1])).to(CPU)
    again = own.take(torch.tensor([1, 0])).slice(0, 1)
    assert own.on_host
    assert again.on_host
    expected = rows().blocks
    torch.testing.assert_close(own.sent().receive()["t"], expected["t"][[7, 3, 3, 1]])
    torch.testing.assert_close(again.sent().receive()["a"], expected["a"][[3]])


@pytest.mark.parametrize("batch_size", [3, 10])
def test_one_batch_is_sent_while_another_is_worked_on(no_room, batch_size):
    def sampler(rows):
        return BatchSampler(
            rows,
            batch_size=batch_size,
            draws=Draws(torch.Generator().manual_seed(1), dropout=0.5, n_mask_units=2),
            penalty_batch_size=7,
        )

    plain, ahead = sampler(rows()), sampler(rows().to(CPU))
    for expected, own in zip(plain, ahead, strict=True):
        for name in ("a", "t"):
            torch.testing.assert_close(own[0]["X"][name], expected[0]["X"][name])
        torch.testing.assert_close(own[0]["mask"], expected[0]["mask"])
        torch.testing.assert_close(own[1], expected[1])
    each = 2 if batch_size == 3 else 1  # with rows for penalties
    no_room.clear()
    batches = iter(ahead)
    next(batches)
    assert len(no_room) == min(2, len(ahead)) * each
    assert len(list(batches)) == len(ahead) - 1
    assert len(no_room) == len(ahead) * each


METHODS = [
    (MROClassifier, {}),
    (MROClassifier, {"early_stopping": True, "n_members": 2, "modality_dropout": 0.2}),
    (MROClassifier, {"optimization": "smro", "net_params": {"max_epochs": 3}}),
    (MROClassifier, {"optimization": "smro", "n_members": 2}),
    (SMURFRegressor, {"penalty_batch_size": 40, "max_order": 2}),
    (InTenseClassifier, {"early_stopping": True, "n_bootstrap": 0}),
    (InTenseClassifier, {"n_members": 2, "bootstrap": True, "n_bootstrap": 0}),
    (InTenseClassifier, {"early_stopping": True, "net_params": {"max_epochs": 3}}),
    (RoutingClassifier, {}),
    (MutualDependencyClassifier, {"n_critic_steps": 2, "early_stopping": True}),
    (MutualDependencyClassifier, {"n_critic_steps": 2, "n_members": 2}),
    (FusionClassifier, {"encoder": "gru", "early_stopping": True}),
]


@pytest.mark.parametrize(("method", "params"), METHODS)
@pytest.mark.parametrize("gaps", [False, True])
def test_nets_are_those_of_inputs_that_stay(method, params, gaps, no_room, monkeypatch):
    X, y = sequences() if "encoder" in params else vectors()
    if gaps:
        X["a"][::5] = np.nan
    y = y if method is SMURFRegressor else y > 0
    sent = method(**COMMON | params).fit(X, y)
    assert no_room
    monkeypatch.undo()
    stayed = method(**COMMON | params).fit(X, y)
    ours, theirs = (model.decompose(X, purify=False).values for model in (sent, stayed))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("method", "params"), METHODS)
def test_on_a_gpu_nets_are_those_of_inputs_that_stay(method, params, no_room, monkeypatch):
    X, y = sequences() if "encoder" in params else vectors()
    y = y if method is SMURFRegressor else y > 0
    params = COMMON | params | {"device": "cuda", "dtype": "float64"}
    sent = method(**params).fit(X, y)
    assert no_room
    monkeypatch.undo()
    stayed = method(**params).fit(X, y)
    ours, theirs = (model.decompose(X, purify=False).values for model in (sent, stayed))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_what_earlier_fits_left_on_a_gpu_is_room(monkeypatch):
    told = {"mem_get_info": (60, 100), "memory_reserved": 30, "memory_allocated": 10}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert _sending.room_on(torch.device("cuda")) == 0.5 * (60 + 30 - 10)
    assert _sending.room_on(CPU) == np.inf


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_room_for_half_of_what_is_left():
    device = torch.device("cuda")
    assert 0 < _sending.room_on(device) <= torch.cuda.mem_get_info(device)[1]
