"""AdamW for many members at once, each with its own step size and decay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from itertools import groupby

import torch
from torch import Tensor, nn

from sklearn_mmfuse._training._schedule import decay_at, step_size_factor

__all__ = ["MemberAdamW", "add_gradient", "clip_gradients", "limits_of"]

BETAS, EPS = (0.9, 0.999), 1e-8


class MemberAdamW:
    """AdamW over parameters `(E, ...)`; runs of members that step alike are stepped together.

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
        self._groups = [
            _Group([p for name, p in trained.items() if kinds[name] == kind], decay=kind)
            for kind in sorted(set(kinds.values()))
        ]
        follows_progress = schedule != "constant" or "late" in kinds.values()
        assert n_steps is not None or not follows_progress
        self._n_steps = 0
        self.decayed = [0.0] * len(self._settings)  # step size times decay, of each
        self._cut()

    def _cut(self) -> None:
        """Cut parameters and moments into runs of members that step alike, once for all steps."""
        self._runs, start = [], 0
        for setting, members in groupby(self._settings):
            stop = start + len(list(members))
            self._runs.append((*setting, slice(start, stop)))
            start = stop
        for group in self._groups:
            group.cut([run[-1] for run in self._runs])

    def take(self, kept: Tensor) -> None:
        """Go on with some members only; the parameters of the net are those of them already."""
        for group in self._groups:
            group.take(kept)
        self._settings = [self._settings[i] for i in kept.tolist()]
        self._cut()

    @torch.no_grad()
    def step(self) -> None:
        """Step along the gradients."""
        done = self._n_steps
        middle = done + 0.5  # a net of one step moves as well
        paces = [
            (
                rate * step_size_factor(self._schedule, middle / n_steps),
                decay,
                middle / n_steps,
                members,
            )
            for rate, decay, n_steps, members in self._runs
        ]
        for group in self._groups:
            group.step(paces, done)
        self.decayed = [
            rate * decay
            for rate, decay, _, members in paces
            for _ in range(members.start, members.stop)
        ]
        self._n_steps += 1


class _Group:
    """Parameters that decay alike, the moments of their gradients, and both in runs of members."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, decay: str) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.first = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        self.second = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        self._pieces: list[list[list[Tensor]]] = []

    def cut(self, runs: Sequence[slice]) -> None:
        """Cut everything but gradients, which are new in every step."""
        kept = ([p.detach() for p in self.parameters], self.first, self.second)
        self._pieces = [[[t[members] for t in tensors] for tensors in kept] for members in runs]

    def take(self, kept: Tensor) -> None:
        """Leave the moments of some members."""
        self.first = [moment[kept] for moment in self.first]
        self.second = [moment[kept] for moment in self.second]

    def step(self, runs: Sequence[tuple[float, float, float, slice]], n_steps: int) -> None:
        """Step; a parameter on which no loss depends has no gradient and stays."""
        moving = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        gradients = [_gradient(self.parameters[i]) for i in moving]
        if not moving:
            return
        count = [torch.full((), n_steps + 1.0, device=gradients[0].device)] * len(moving)
        for (rate, decay, progress, members), pieces in zip(runs, self._pieces, strict=True):
            parameters, first, second = ([tensors[i] for i in moving] for tensors in pieces)
            # What torch.optim.AdamW(fused=True) calls in the end; its way there takes longer than
            # the step of a small net, and is gone for every run.
            torch._fused_adamw_(
                parameters,
                gradients if len(runs) == 1 else [gradient[members] for gradient in gradients],
                first,
                second,
                [],
                count,
                amsgrad=False,
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay_at(self.decay, progress, weight_decay=decay, learning_rate=rate),
                eps=EPS,
                maximize=False,
            )


def _decay_of(name: str, decays: Mapping[str, str]) -> str:
    return next((decay for pattern, decay in decays.items() if fnmatch(name, pattern)), "always")


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


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
    length = _lengths([_gradient(p) for p in moving], len(penalty))
    factor = (length / _lengths(gradients, len(penalty)).clamp_min(1e-12)).clamp_max(1.0)
    for parameter, gradient in zip(moving, gradients, strict=True):
        _gradient(parameter).add_(gradient * _along(gradient, factor))


def _along(gradient: Tensor, factor: Tensor) -> Tensor:
    """Return a factor of each member, `(E,)`, in a shape that multiplies a gradient."""
    return factor.view(-1, *[1] * (gradient.dim() - 1))


def _lengths(gradients: Sequence[Tensor], n_members: int) -> Tensor:
    """Return how long each member's gradients are together, `(E,)`."""
    each = [torch.linalg.vector_norm(g.reshape(n_members, -1), dim=1) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)
