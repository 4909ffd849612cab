"""The other player: a critic trained between the steps of a net, and what the net gets for it.

Colombo et al. (2021), Algorithm 1.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from sklearn_mmfuse._training._batches import draw_mask
from sklearn_mmfuse._training._gradients import StepGradients
from sklearn_mmfuse._training._member_optimizer import MemberAdamW, clip_gradients, limits_of
from sklearn_mmfuse._training._rows import MemberRows, Rows
from sklearn_mmfuse._training._sending import hand_over
from sklearn_mmfuse.losses import DependencyGain, dependency_bound
from sklearn_mmfuse.nets import (
    DependencyNet,
    Inputs,
    MaskReader,
    Shares,
    complete_numbers,
    complete_rows,
    draw_orders,
    reorder,
    row_shares,
    rows_at_once,
    shuffle_modalities,
    side_by_side,
    unit_statistics,
)

__all__ = ["CriticOptions", "CriticPlayer", "score_network"]

DECAY = 0.01  # of the critic's weights


@dataclass(frozen=True)
class CriticOptions:
    """How the critic plays; every field is the estimator parameter of a similar name."""

    dependency: str
    reg_lambda: float
    n_steps: int
    learning_rate: float
    dropout: float = 0.0

    @property
    def key(self) -> Hashable:
        """What members have in common whose critics play at once.

        Where `reg_lambda` is zero nothing is drawn for the penalty.
        """
        return (self.dependency, self.n_steps, self.dropout, self.reg_lambda == 0.0)


class _Stream:
    """The rows, shuffles and masks that are drawn for a critic, from a generator of its own."""

    def __init__(self, rows: Rows, batch_size: int, seed: int) -> None:
        if rows.present is not None:
            rows = rows.take(complete_numbers(rows.present))
        self.rows = replace(rows, offset=None, present=None)
        self.batch_size = min(batch_size, len(rows))
        self.generator = torch.Generator().manual_seed((seed + 2**30) % 2**63)
        self._order, self._position = torch.empty(0, dtype=torch.long), 0

    def draw(self, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return the numbers of the rows of so many steps, and their shuffles `(M, size)` each."""
        size = self.batch_size
        drawn = torch.stack([self._draw(size) for _ in range(n_steps)])
        return drawn, torch.stack([self.orders(size) for _ in range(n_steps)])

    def _draw(self, size: int) -> Tensor:
        """Draw rows without replacement, all before any comes again."""
        if self._position + size > len(self._order):
            self._order = torch.randperm(len(self.rows), generator=self.generator)
            self._position = 0
        self._position += size
        return self._order[self._position - size : self._position]

    def orders(self, n_rows: int) -> Tensor:
        """Draw one order per modality."""
        return draw_orders(n_rows, len(self.rows.blocks), self.generator)

    def mask(self, n_units: int, dropout: float) -> Tensor | None:
        """Draw what so many hidden units of the critic are multiplied by."""
        return draw_mask(n_units, 1.0 - dropout, self.generator, like=self.rows.weight)


class CriticPlayer:
    """Trains the critic before each step of the net, and adds the bound to what the net climbs.

    Of many members at once: each has its own critic, and draws from its own stream, or all from the
    same.

    Parameters
    ----------
    net : DependencyNet
        Whose critic plays.
    streams : sequence of (Rows, int)
        Training rows and a seed: one for all members, or one for each, with equally many rows. What
        is drawn from the seed is nothing that the net draws, so that it sees the same rows as
        without a critic.
    options : sequence of CriticOptions
        How, of each member; of equal `key`.
    batch_size : int
        Rows per step of the critic.
    max_grad_norms : sequence of float or None
        Gradients of a member's critic with a larger norm are scaled down to it.
    """

    def __init__(
        self,
        net: DependencyNet,
        streams: Sequence[tuple[Rows, int]],
        options: Sequence[CriticOptions],
        *,
        batch_size: int,
        max_grad_norms: Sequence[float | None],
    ) -> None:
        self.net, self.options = net, options[0]
        self._streams = [_Stream(rows, batch_size, seed) for rows, seed in streams]
        self._shared = len(streams) == 1
        self.gain = DependencyGain(self.options.dependency)
        self._parameters = list(net.critic.parameters())
        self._gradients = StepGradients(self._parameters)
        self.optimizer = MemberAdamW(
            net.critic,
            [own.learning_rate for own in options],
            [DECAY] * len(options),
            decays={},
        )
        weights = torch.tensor([own.reg_lambda for own in options], dtype=torch.float64)
        self.reg_lambda = weights.to(net.bias)
        self._max_grad_norms = limits_of(max_grad_norms).to(net.bias)
        self._clips = any(limit is not None for limit in max_grad_norms)
        self._seen: list[Tensor] = []

    @property
    def _n_rows(self) -> int:
        return len(self._streams[0].rows)

    def take(self, kept: Tensor) -> None:
        """Go on with some members only; the net is one of those already."""
        if not self._shared:
            self._streams = [self._streams[i] for i in kept.tolist()]
        there = kept.to(self.reg_lambda.device)
        self.optimizer.take(there)
        self.gain.take(there)
        self._gradients.forget()
        self.reg_lambda, self._max_grad_norms = self.reg_lambda[there], self._max_grad_norms[there]

    def _of_members(self, values: Sequence[Tensor]) -> Tensor:
        """Return what streams drew, with an axis of members where each has its own."""
        return values[0] if self._shared else torch.stack(list(values))

    def train(self) -> None:
        """Take the critic's steps, each on fresh rows and shuffles."""
        if self._n_rows < 2:
            return
        # All at first: what is drawn must not depend on how many steps one pass of the net serves.
        drawn = [stream.draw(self.options.n_steps) for stream in self._streams]
        size = self._streams[0].batch_size
        at_once = max(1, rows_at_once(self._streams[0].rows.blocks) // (2 * size))
        for start in range(0, self.options.n_steps, at_once):
            self._steps(
                [(rows[start:][:at_once], orders[start:][:at_once]) for rows, orders in drawn]
            )

    def _steps(self, drawn: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take some steps whose representations are made in one pass of the net."""
        n_steps, size = drawn[0][0].shape
        taken = [
            stream.rows.take(numbers.flatten())
            for stream, (numbers, _) in zip(self._streams, drawn, strict=True)
        ]
        rows = taken[0] if self._shared else MemberRows.of(taken)
        device = self.net.bias.device
        orders = self._of_members([orders for _, orders in drawn])  # (..., steps, M, size)
        orders = hand_over(orders, device)
        begin = size * torch.arange(n_steps, device=device).view(-1, 1, 1)
        together = (orders + begin).transpose(-3, -2).flatten(-2)
        with torch.no_grad(), _quiet(self.net):
            X = {name: x.to(device) for name, x in rows.X.items()}
            joint, shuffled = _both(self.net, X, together)
        for step in range(n_steps):
            here = slice(step * size, (step + 1) * size)
            shares = row_shares(rows.weight[..., here], orders[..., step, :, :])
            self._step(joint[:, here], shuffled[:, here], shares)

    def _step(self, joint: Tensor, shuffled: Tensor, shares: Shares) -> None:
        loss = self._gradients(
            self._loss,
            {
                "joint": joint,
                "shuffled": shuffled,
                "joint_share": shares[0],
                "shuffled_share": shares[1],
                "mask": self._mask(2 * joint.shape[1]),
                "average": self.gain.average,
            },
        )
        if self._clips:
            clip_gradients(self._parameters, self._max_grad_norms)
        self.optimizer.step()
        self._seen.append(-loss)

    def _loss(self, batch: Mapping[str, Any]) -> Tensor:
        shares = batch["joint_share"], batch["shuffled_share"]
        both = _standardized(batch["joint"], batch["shuffled"], shares)
        scores = _split(self.net.critic(both, MaskReader(batch["mask"])))
        return -self.gain(*scores, shares, update=True, before=batch["average"])

    def _mask(self, n_rows: int) -> Tensor | None:
        """Draw what the critic's hidden units are multiplied by."""
        n_units = self.net.critic.n_mask_units * n_rows
        masks = [stream.mask(n_units, self.options.dropout) for stream in self._streams]
        drawn = [mask for mask in masks if mask is not None]
        return self._of_members(drawn).expand(self.net.n_members, -1) if drawn else None

    def pop_bounds(self) -> NDArray[np.float64]:
        """Return the mean bound of each critic's batches since the last call, `(E,)`."""
        seen, self._seen = self._seen, []
        if not seen:
            return np.full(self.net.n_members, np.nan)
        return torch.stack(seen).mean(dim=0).double().cpu().numpy()

    @torch.no_grad()
    def measure(self, rows: Rows | MemberRows) -> NDArray[np.float64]:
        """Return the bound on other rows, `(E,)`, with T shifted by the training rows.

        Of members with rows of their own these are `(E, n, ...)`.
        """
        X, weight = complete_rows(rows.inputs_in_place, rows.weight, rows.present)
        n_rows = weight.shape[-1]
        if n_rows < 2 or self._n_rows < 2:
            return np.full(self.net.n_members, np.nan)
        generator = torch.Generator().manual_seed(0)  # the same rows in every epoch
        orders = draw_orders(n_rows, len(X), generator)
        orders = hand_over(orders, weight.device).expand(*weight.shape[:-1], *orders.shape)
        one = 1.0 if self.options.dependency == "f" else 0.0  # there e^(T - 1) has mean one
        joint, shuffled = self.net.scores(X), self.net.scores(shuffle_modalities(X, orders))
        bound = dependency_bound(
            self.options.dependency, joint + one, shuffled + one, row_shares(weight, orders)
        )
        return bound.double().cpu().numpy()

    def penalty(self, inputs: Mapping[str, Any]) -> Tensor | None:
        """Return `-reg_lambda` times the bound on a batch, `(E,)`; the critic stays as it is.

        Of rows that lack nothing, and of representations without dropout: noise or gaps on joint
        rows alone would tell them from shuffled ones. Nothing is computed where `reg_lambda` is
        zero, or fewer than two such rows are there.
        """
        if self.options.reg_lambda == 0.0:
            return None
        X, weight = complete_rows(inputs["X"], inputs["weight"], inputs["recorded"])
        n_rows = weight.shape[-1]
        if n_rows < 2:
            return None
        orders = self._of_members([stream.orders(n_rows) for stream in self._streams])
        orders = hand_over(orders, weight.device)
        shares = row_shares(weight, orders)
        with _quiet(self.net):
            joint, shuffled = _both(self.net, X, orders)
        frozen = {name: p.detach() for name, p in self.net.critic.named_parameters()}
        both = _standardized(joint, shuffled, shares)
        scores = _split(functional_call(self.net.critic, frozen, (both,)))
        return -self.reg_lambda * self.gain(*scores, shares, update=False)


@contextmanager
def _quiet(net: DependencyNet) -> Iterator[None]:
    """Keep modules of others, which draw their own dropout, from drawing any.

    Recurrent ones stay as they are: on a GPU they have no gradient otherwise.
    """
    if not (net.training and net.draws_globally):
        yield
        return
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.RNNBase):
            module.train()
    try:
        yield
    finally:
        net.train()


def _standardized(joint: Tensor, shuffled: Tensor, shares: Shares) -> Tensor:
    """Return joint rows above shuffled ones, `(E, 2 B, D)`, every unit standardized."""
    shift, scale = unit_statistics(joint, shares[0])
    return (torch.cat([joint, shuffled], dim=1) - shift) * scale


def _split(scores: Tensor) -> tuple[Tensor, Tensor]:
    joint, shuffled = scores.chunk(2, dim=1)
    return joint, shuffled


def _both(net: DependencyNet, X: Mapping[str, Tensor], orders: Tensor) -> tuple[Tensor, Tensor]:
    """Return the representations of rows as they are and with shuffled modalities."""
    embedded = net.embed(X)
    if not net.fusion.additive:
        return side_by_side(embedded), net.represent(shuffle_modalities(X, orders))
    # Each modality's part is shuffled with it.
    each = orders.to(embedded.device).unbind(-2)
    parts = [reorder(part, order) for part, order in zip(embedded.unbind(1), each, strict=True)]
    return side_by_side(embedded), side_by_side(torch.stack(parts, dim=1))


@torch.no_grad()
def score_network(net: DependencyNet, X: Inputs, present: Tensor | None) -> NDArray[np.float64]:
    """Return T of every row, averaged over members, `(n,)`; in float64, as predictions are."""
    here = None if present is None else present.double()
    double = copy.deepcopy(net).double()
    scores = double.scores(X, here)
    return scores.mean(dim=0).numpy()
