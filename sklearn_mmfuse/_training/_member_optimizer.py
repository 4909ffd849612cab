"""AdamW for many members at once, each with its own step size and decay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from itertools import groupby

import torch
from torch import Tensor, nn

from sklearn_mmfuse._training._adamw import Pace, StepAtOnce, StepInRuns, Stepper
from sklearn_mmfuse._training._schedule import step_size_factor

__all__ = ["MemberAdamW", "add_gradient", "clip_gradients", "limits_of"]

Setting = tuple[float, float, int]  # of a member: learning rate, weight decay, steps in all


class MemberAdamW:
    """AdamW over parameters `(E, ...)`, each member with its own step size and decay.

    The same as `torch.optim.AdamW` for every member.

    Parameters
    ----------
    net : Module
        Whose parameters have the members as their leading axis.
    learning_rate, weight_decay : sequence of float
        Of each member.
    decays : mapping of str to str
        Patterns of the parameters that weight decay treats otherwise, and how, for `decay_at`.
    schedule : {"cosine", "constant"}, default="constant"
        How the step sizes change.
    n_steps : sequence of int, optional
        How many steps each member takes in all, which a schedule has to know.
    apart : sequence of str, default=()
        Prefixes of the parameters that have another optimizer.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sklearn_mmfuse._training._member_optimizer import MemberAdamW
    >>> net = nn.Module()
    >>> net.weight = nn.Parameter(torch.zeros(2, 3))
    >>> optimizer = MemberAdamW(net, [0.1, 0.2], [0.0, 0.0], decays={})
    >>> net.weight.sum().backward()
    >>> optimizer.step()
    >>> net.weight[:, 0]
    tensor([-0.1000, -0.2000], grad_fn=<SelectBackward0>)
    """

    def __init__(
        self,
        net: nn.Module,
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
        *,
        decays: Mapping[str, str],
        schedule: str = "constant",
        n_steps: Sequence[int] | None = None,
        apart: Sequence[str] = (),
    ) -> None:
        self._schedule = schedule
        ends = [1] * len(learning_rate) if n_steps is None else n_steps
        self._settings = list(zip(learning_rate, weight_decay, ends, strict=True))
        trained = {
            name: p
            for name, p in net.named_parameters()
            if p.requires_grad and not name.startswith(tuple(apart))
        }
        kinds = {name: _decay_of(name, decays) for name in trained}
        names = sorted(trained, key=kinds.__getitem__)
        follows_progress = schedule != "constant" or "late" in kinds.values()
        assert n_steps is not None or not follows_progress
        self._n_steps = 0
        self.decayed = [0.0] * len(self._settings)  # step size times decay, of each
        self._runs = _runs_of(self._settings)
        on_cpu = all(p.device.type == "cpu" for p in trained.values())
        stepper = StepInRuns if on_cpu or len(self._runs) == 1 else StepAtOnce
        self._stepper: Stepper = stepper([trained[n] for n in names], [kinds[n] for n in names])
        self._stepper.cut(self._slices)

    @property
    def _slices(self) -> list[slice]:
        return [members for *_, members in self._runs]

    def take(self, kept: Tensor) -> None:
        """Go on with some members only; the parameters of the net are those of them already."""
        self._stepper.take(kept)
        self._settings = [self._settings[i] for i in kept.tolist()]
        self._runs = _runs_of(self._settings)
        self._stepper.cut(self._slices)

    @torch.no_grad()
    def step(self) -> None:
        """Step along the gradients."""
        middle = self._n_steps + 0.5  # a net of one step moves as well
        paces = [
            Pace(
                members,
                rate * step_size_factor(self._schedule, middle / n_steps),
                decay,
                middle / n_steps,
            )
            for rate, decay, n_steps, members in self._runs
        ]
        self._stepper.step(paces, self._n_steps)
        self.decayed = [
            pace.rate * pace.decay
            for pace in paces
            for _ in range(pace.members.start, pace.members.stop)
        ]
        self._n_steps += 1


def _runs_of(settings: Sequence[Setting]) -> list[tuple[*Setting, slice]]:
    """Return neighboring members that step alike as one."""
    runs, start = [], 0
    for setting, members in groupby(settings):
        stop = start + len(list(members))
        runs.append((*setting, slice(start, stop)))
        start = stop
    return runs


def _decay_of(name: str, decays: Mapping[str, str]) -> str:
    return next((decay for pattern, decay in decays.items() if fnmatch(name, pattern)), "always")


def limits_of(max_norms: Sequence[float | None]) -> Tensor:
    """Return the norms that members' gradients are scaled down to, `(E,)`; None is no limit."""
    limits = [math.inf if limit is None else float(limit) for limit in max_norms]
    return torch.tensor(limits, dtype=torch.float64)


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: Tensor) -> None:
    """Scale gradients down where those of a member together are longer than `max_norm`, `(E,)`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    factor = (max_norm / (_lengths(gradients, len(max_norm)) + 1e-6)).clamp_max(1.0)
    if factor.device.type == "cpu" and bool((factor == 1.0).all()):
        return
    for gradient in gradients:
        gradient.mul_(_along(gradient, factor))


def add_gradient(parameters: Sequence[nn.Parameter], penalty: Tensor) -> None:
    """Add the gradient of a penalty `(E,)`, shortened to no more than that of each member's loss.

    What another player rewards may have no bound: unshortened, it drowns the loss.
    """
    moving = [p for p in parameters if p.grad is not None]
    gradients = torch.autograd.grad(penalty.sum(), moving, materialize_grads=True)
    own = [p.grad for p in moving if p.grad is not None]
    length = _lengths(own, len(penalty))
    factor = (length / _lengths(gradients, len(penalty)).clamp_min(1e-12)).clamp_max(1.0)
    for before, gradient in zip(own, gradients, strict=True):
        before.add_(gradient * _along(gradient, factor))


def _along(gradient: Tensor, factor: Tensor) -> Tensor:
    """Return a factor of each member, `(E,)`, in a shape that multiplies a gradient."""
    return factor.view(-1, *[1] * (gradient.dim() - 1))


def _lengths(gradients: Sequence[Tensor], n_members: int) -> Tensor:
    """Return how long each member's gradients are together, `(E,)`."""
    each = [torch.linalg.vector_norm(g.reshape(n_members, -1), dim=1) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)
