"""Steps of many members, in runs and all at once, against the equations for each alone."""

import gc
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch

from sklearn_mmfuse import MROClassifier, SMURFRegressor
from sklearn_mmfuse._training import _members
from sklearn_mmfuse._training._adamw import Pace, StepAtOnce, StepInRuns
from tests.simulated_device import AWAY, SimulatedDevice
from tests.training._data import vectors

SHAPES = [(5, 3, 4), (5,), (5, 7), (5, 2, 2)]
KINDS = ["always", "always", "late", "never"]
RATES, DECAYS = (1e-2, 1e-2, 3e-3, 1e-1, 1e-1), (0.3, 0.3, 0.3, 0.0, 0.0)
N_STEPS = 12


def runs_of(members):
    """Return runs of members that are left, by their rates."""
    rates = [RATES[e] for e in members]
    cuts = [0, *(i for i in range(1, len(rates)) if rates[i] != rates[i - 1]), len(rates)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def paces_of(members, done):
    progress = (done + 0.5) / N_STEPS
    return [
        Pace(run, RATES[members[run.start]], DECAYS[members[run.start]], progress)
        for run in runs_of(members)
    ]


class Alone:
    """One member's share of a parameter; Algorithm 2 of Loshchilov and Hutter (2019)."""

    def __init__(self, p, kind):
        self.p, self.kind = p.detach().clone(), kind
        self.m, self.v = torch.zeros_like(p), torch.zeros_like(p)

    def step(self, g, pace, t):
        rate = pace.rate
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m_hat, v_hat = self.m / (1 - 0.9**t), self.v / (1 - 0.999**t)
        decayed = self.p - rate * pace.decay_of(self.kind) * self.p
        self.p = decayed - rate * m_hat / (v_hat.sqrt() + 1e-8)


def set_gradients(parameters, done, rng, same_memory):
    """Give all parameters gradients; one has none before the fifth step."""
    for i, parameter in enumerate(parameters):
        gradient = torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)
        if i == 1 and done < 4:
            parameter.grad = None
        elif same_memory and parameter.grad is not None:
            parameter.grad.copy_(gradient)
        else:
            parameter.grad = gradient


def take(stepper, parameters, kept):
    for parameter in parameters:
        parameter.data, parameter.grad = parameter.data[torch.tensor(kept)], None
    stepper.take(torch.tensor(kept))


@pytest.mark.parametrize("stepper", [StepInRuns, StepAtOnce])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("same_memory", [False, True])
def test_members_step_as_if_alone(stepper, dtype, same_memory):
    rng = torch.Generator().manual_seed(0)
    parameters = [
        torch.nn.Parameter(torch.randn(shape, generator=rng, dtype=dtype)) for shape in SHAPES
    ]
    alone = {
        e: [Alone(p[e], kind) for p, kind in zip(parameters, KINDS, strict=True)] for e in range(5)
    }
    ours = stepper(parameters, KINDS)
    ours.cut(runs_of(range(5)))
    for done in range(N_STEPS):
        if done == 6:  # two are done
            alone = {e: alone[e] for e in (0, 2, 4)}
            take(ours, parameters, list(alone))
            ours.cut(runs_of(list(alone)))
        set_gradients(parameters, done, rng, same_memory)
        paces = paces_of(list(alone), done)
        each = [pace for pace in paces for _ in range(pace.members.start, pace.members.stop)]
        for position, (own, pace) in enumerate(zip(alone.values(), each, strict=True)):
            for one, parameter in zip(own, parameters, strict=True):
                if parameter.grad is not None:
                    one.step(parameter.grad[position].clone(), pace, done + 1)
        with torch.no_grad():
            ours.step(paces, done)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for position, own in enumerate(alone.values()):
        for one, parameter in zip(own, parameters, strict=True):
            torch.testing.assert_close(
                parameter.detach()[position], one.p, atol=tolerance, rtol=tolerance
            )


def test_nothing_moves_without_gradients():
    for stepper in (StepInRuns, StepAtOnce):
        parameter = torch.nn.Parameter(torch.ones(2, 3))
        own = stepper([parameter], ["always"])
        own.cut([slice(0, 1), slice(1, 2)])
        own.step([Pace(slice(0, 1), 0.1, 1.0, 0.5), Pace(slice(1, 2), 0.2, 1.0, 0.5)], 0)
        assert (parameter == 1).all()


@pytest.mark.parametrize("device", ["cpu", str(AWAY)])
@pytest.mark.parametrize("method", [MROClassifier, SMURFRegressor])
def test_what_training_held_is_let_go_at_once(device, method, monkeypatch):
    """On a GPU it is memory that the next fit needs; a cycle would keep it for a while."""
    X, y = vectors()
    held, init = [], _members._PartTraining.__init__

    def seen(own, *args):
        init(own, *args)
        held.extend(map(weakref.ref, [own, own.part, own.gradients, *own.part.parameters()]))

    monkeypatch.setattr(_members._PartTraining, "__init__", seen)
    model = method(max_epochs=12, max_grad_norm=0.1, early_stopping=False, device=device)
    gc.collect()
    gc.disable()
    try:
        with SimulatedDevice():
            model.fit(X, y > 0 if method is MROClassifier else y)
        assert held
        assert not np.any([own() is not None for own in held])
    finally:
        gc.enable()
