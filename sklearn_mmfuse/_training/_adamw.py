"""Steps of AdamW, of many members whose step sizes and decays differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from sklearn_mmfuse._training._schedule import decay_at
from sklearn_mmfuse._training._sending import hand_over

__all__ = ["Pace", "StepAtOnce", "StepInRuns", "Stepper"]

BETAS, EPS = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Pace:
    """How members next to each other step.

    Parameters
    ----------
    members : slice
        Which.
    rate, decay : float
        Step size and weight decay.
    progress : float
        The share of all steps that are done.
    """

    members: slice
    rate: float
    decay: float
    progress: float

    def decay_of(self, kind: str) -> float:
        """Return the decay of parameters of a kind, one of `decay_at`."""
        return decay_at(kind, self.progress, weight_decay=self.decay, learning_rate=self.rate)


class Stepper(Protocol):
    """Takes the steps of parameters `(E, ...)`, and keeps the moments of their gradients.

    Made from a sequence of parameters, and one of how each decays, one kind after the other.
    """

    def cut(self, runs: Sequence[slice]) -> None:
        """Prepare for these runs of members that step alike, which cover all members."""

    def take(self, kept: Tensor) -> None:
        """Go on with some members only; the parameters are those of them already."""

    def step(self, paces: Sequence[Pace], n_done: int) -> None:
        """Step along the gradients; a parameter on which no loss depends has none, and stays."""


class StepInRuns:
    """Steps one run of members after the other: each in one pass over memory, best on a CPU."""

    def __init__(self, parameters: Sequence[nn.Parameter], kinds: Sequence[str]) -> None:
        self._groups = [
            _Group([p for p, own in zip(parameters, kinds, strict=True) if own == kind], kind)
            for kind, _ in groupby(kinds)
        ]

    def cut(self, runs: Sequence[slice]) -> None:
        """Cut parameters and moments, once for all steps."""
        for group in self._groups:
            group.cut(runs)

    def take(self, kept: Tensor) -> None:
        """Leave the moments of some members."""
        for group in self._groups:
            group.first = [moment[kept] for moment in group.first]
            group.second = [moment[kept] for moment in group.second]

    def step(self, paces: Sequence[Pace], n_done: int) -> None:
        """Step group after group."""
        for group in self._groups:
            group.step(paces, n_done)


class _Group:
    """Parameters that decay alike, the moments of their gradients, and both in runs of members."""

    def __init__(self, parameters: Sequence[nn.Parameter], kind: str) -> None:
        self.parameters, self.kind = list(parameters), kind
        self.first = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        self.second = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        self.cut([])

    def cut(self, runs: Sequence[slice]) -> None:
        kept = ([p.detach() for p in self.parameters], self.first, self.second)
        self._pieces = [[[t[members] for t in tensors] for tensors in kept] for members in runs]
        self._seen: list[ReferenceType[Tensor]] = []
        self._of_gradients: list[list[Tensor]] = []

    def step(self, paces: Sequence[Pace], n_done: int) -> None:
        moving = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        if not moving:
            return
        gradients = [_gradient(self.parameters[i]) for i in moving]
        count = [torch.full((), n_done + 1.0, device=gradients[0].device)] * len(moving)
        in_runs = self._cut_gradients(gradients, [pace.members for pace in paces])
        for pace, pieces, own in zip(paces, self._pieces, in_runs, strict=True):
            parameters, first, second = ([tensors[i] for i in moving] for tensors in pieces)
            # What torch.optim.AdamW(fused=True) calls in the end; its way there takes longer than
            # the step of a small net, and is gone for every run.
            torch._fused_adamw_(
                parameters,
                own,
                first,
                second,
                [],
                count,
                amsgrad=False,
                lr=pace.rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=pace.decay_of(self.kind),
                eps=EPS,
                maximize=False,
            )

    def _cut_gradients(self, gradients: list[Tensor], runs: Sequence[slice]) -> list[list[Tensor]]:
        """Return gradients in runs.

        Those of recorded steps are always the same tensors, and cut once; others are let go.
        """
        if len(runs) == 1:
            return [gradients]
        again = len(gradients) == len(self._seen) and all(
            seen() is gradient for seen, gradient in zip(self._seen, gradients, strict=True)
        )
        if again and self._of_gradients:
            return self._of_gradients
        pieces = [[gradient[members] for gradient in gradients] for members in runs]
        self._seen, self._of_gradients = [ref(own) for own in gradients], pieces if again else []
        return pieces


class StepAtOnce:
    """Steps all members in a dozen operations, however they differ: best where a call is the bill.

    On a GPU a call takes longer than what it does to small nets. Parameters and moments are laid
    side by side, `(E, P)`; a step is that of `StepInRuns` up to rounding.
    """

    _first: Tensor
    _second: Tensor

    def __init__(self, parameters: Sequence[nn.Parameter], kinds: Sequence[str]) -> None:
        self._parameters, self._kinds = list(parameters), list(kinds)
        self._moving: list[int] = []
        self._sizes: list[int] = []
        self._told: tuple[list[list[float]], Tensor] | None = None

    def cut(self, runs: Sequence[slice]) -> None:
        """There is nothing to be cut."""
        self._told = None

    def take(self, kept: Tensor) -> None:
        """Leave the moments of some members."""
        if self._moving:
            self._first, self._second = self._first[kept], self._second[kept]

    def step(self, paces: Sequence[Pace], n_done: int) -> None:
        """Step everything at once."""
        moving = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        if not moving:
            return
        pairs = [(self._parameters[i].detach(), _gradient(self._parameters[i])) for i in moving]
        parameters = [p.view(len(p), -1) for p, _ in pairs]
        gradients = [g.reshape(len(g), -1) for _, g in pairs]
        if moving != self._moving:
            self._lay_out(moving, parameters)
        told = self._tell(paces)
        gradient, values = torch.cat(gradients, dim=1), torch.cat(parameters, dim=1)
        self._first.lerp_(gradient, 1.0 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
        length = 1.0 - BETAS[0] ** (n_done + 1), math.sqrt(1.0 - BETAS[1] ** (n_done + 1))
        direction = self._first / (self._second.sqrt() / length[1]).add_(EPS)
        for position, columns in enumerate(self._columns()):
            values[:, columns].mul_(told[1 + position])
        values.addcmul_(direction, told[0], value=-1.0 / length[0])
        torch.split_with_sizes_copy(values, self._sizes, dim=1, out=parameters)

    def _lay_out(self, moving: list[int], like: Sequence[Tensor]) -> None:
        """Make room for the moments of other parameters than before."""
        known = {}
        if self._moving:
            both = (moments.split(self._sizes, dim=1) for moments in (self._first, self._second))
            known = dict(zip(self._moving, zip(*both, strict=True), strict=True))
        nothing = [(torch.zeros_like(p), torch.zeros_like(p)) for p in like]
        moments = [known.get(i, zeros) for i, zeros in zip(moving, nothing, strict=True)]
        self._first, self._second = (torch.cat(own, dim=1) for own in zip(*moments, strict=True))
        self._moving, self._sizes, self._told = moving, [p.shape[1] for p in like], None

    def _columns(self) -> Iterator[slice]:
        """Yield where the parameters of each kind are."""
        start = 0
        sized = zip((self._kinds[i] for i in self._moving), self._sizes, strict=True)
        for _, own in groupby(sized, key=lambda one: one[0]):
            stop = start + sum(size for _, size in own)
            yield slice(start, stop)
            start = stop

    def _tell(self, paces: Sequence[Pace]) -> Tensor:
        """Return step sizes, and what decay leaves of each kind, `(1 + kinds, E, 1)`."""
        kinds = [kind for kind, _ in groupby(self._kinds[i] for i in self._moving)]
        values = [
            [pace.rate, *(1.0 - pace.rate * pace.decay_of(kind) for kind in kinds)]
            for pace in paces
            for _ in range(pace.members.start, pace.members.stop)
        ]
        if self._told is None or self._told[0] != values:
            told = torch.tensor(values, dtype=torch.float64).T.unsqueeze(2)
            like = self._first
            self._told = values, hand_over(told.to(like.dtype), like.device)
        return self._told[1]


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
