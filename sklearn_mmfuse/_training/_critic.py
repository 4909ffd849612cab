"""The other player: a critic trained between the steps of a net, and what the net gets for it.

Colombo et al. (2021), Algorithm 1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from sklearn_mmfuse._training._batches import Rows, draw_mask
from sklearn_mmfuse.losses import DependencyGain, dependency_bound
from sklearn_mmfuse.nets import (
    DependencyNet,
    MaskReader,
    Shares,
    complete_rows,
    draw_orders,
    row_shares,
    rows_at_once,
    shuffle_modalities,
    side_by_side,
    unit_statistics,
)

__all__ = ["CriticOptions", "CriticPlayer", "score_network"]


@dataclass(frozen=True)
class CriticOptions:
    """How the critic plays; every field is the estimator parameter of a similar name."""

    dependency: str
    reg_lambda: float
    n_steps: int
    learning_rate: float
    dropout: float = 0.0


class CriticPlayer:
    """Trains the critic before each step of the net, and adds the bound to what the net climbs.

    Parameters
    ----------
    net : DependencyNet
        Whose critic plays.
    rows : Rows
        The training rows.
    options : CriticOptions
        How.
    batch_size : int
        Rows per step of the critic.
    max_grad_norm : float or None
        Gradients of the critic with a larger norm are scaled down to it.
    seed : int
        Of the rows and shuffles that are drawn: streams of its own, so that the net sees the same
        rows as without a critic.
    """

    def __init__(
        self,
        net: DependencyNet,
        rows: Rows,
        options: CriticOptions,
        *,
        batch_size: int,
        max_grad_norm: float | None,
        seed: int,
    ) -> None:
        self.net, self.options = net, options
        X, weight = complete_rows(rows.X, rows.weight, rows.present)
        self.rows = Rows(X, weight, weight)
        self.batch_size, self.max_grad_norm = batch_size, max_grad_norm
        self.gain = DependencyGain(options.dependency)
        self.optimizer = torch.optim.AdamW(
            net.critic.parameters(), lr=options.learning_rate, fused=True
        )
        self.generator = torch.Generator().manual_seed(seed)
        self._seen: list[Tensor] = []
        self._order, self._position = torch.empty(0, dtype=torch.long), 0

    def train(self) -> None:
        """Take the critic's steps, each on fresh rows and shuffles."""
        if len(self.rows) < 2:
            return
        left, size = self.options.n_steps, min(self.batch_size, len(self.rows))
        at_once = max(1, rows_at_once(self.rows.blocks) // (2 * size))  # one pass serves many steps
        while left > 0:
            n_steps = min(left, at_once)
            drawn = torch.cat([self._draw(size) for _ in range(n_steps)])
            rows = self.rows.take(drawn.to(self.rows.y.device))
            orders = torch.cat([self._orders(size) + step * size for step in range(n_steps)], dim=1)
            with torch.no_grad(), _quiet(self.net):
                joint, shuffled = _both(self.net, rows.X, orders)
            for step in range(n_steps):
                here = slice(step * size, (step + 1) * size)
                shares = row_shares(rows.weight[here], orders[:, here] - here.start)
                self._step(joint[:, here], shuffled[:, here], shares)
            left -= n_steps

    def _draw(self, size: int) -> Tensor:
        """Draw rows without replacement, all before any comes again."""
        if self._position + size > len(self._order):
            self._order = torch.randperm(len(self.rows), generator=self.generator)
            self._position = 0
        self._position += size
        return self._order[self._position - size : self._position]

    def _orders(self, n_rows: int) -> Tensor:
        return draw_orders(n_rows, len(self.rows.blocks), self.generator)

    def _drop(self, x: Tensor) -> MaskReader:
        """Draw what the critic's hidden units are multiplied by."""
        n_units = self.net.critic.n_mask_units * x.shape[0] * x.shape[1]
        keep = 1.0 - self.options.dropout
        mask = draw_mask(n_units, keep, self.generator, like=x)
        return MaskReader(None if mask is None else mask.view(len(x), -1))

    def _step(self, joint: Tensor, shuffled: Tensor, shares: Shares) -> None:
        critic = self.net.critic
        for parameter in critic.parameters():
            parameter.grad = None
        both = _standardized(joint, shuffled, shares)
        scores = _split(critic(both, self._drop(both)))
        (-self.gain(*scores, shares, update=True).sum()).backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(critic.parameters(), self.max_grad_norm)
        self.optimizer.step()
        detached = [score.detach() for score in scores]
        bound = dependency_bound(self.options.dependency, detached[0], detached[1], shares)
        self._seen.append(bound.mean())

    def pop_bound(self) -> float:
        """Return the mean bound of the critic's batches since the last call."""
        seen, self._seen = self._seen, []
        return float(torch.stack(seen).mean()) if seen else math.nan

    @torch.no_grad()
    def measure(self, rows: Rows) -> float:
        """Return the bound on other rows, with T shifted by the training rows."""
        X, weight = complete_rows(rows.X, rows.weight, rows.present)
        if len(weight) < 2 or len(self.rows) < 2:
            return math.nan
        generator = torch.Generator().manual_seed(0)  # the same rows in every epoch
        orders = draw_orders(len(weight), len(X), generator)
        one = 1.0 if self.options.dependency == "f" else 0.0  # there e^(T - 1) has mean one
        joint, shuffled = self.net.scores(X), self.net.scores(shuffle_modalities(X, orders))
        bound = dependency_bound(
            self.options.dependency, joint + one, shuffled + one, row_shares(weight, orders)
        )
        return float(bound.mean())

    def penalty(self, inputs: Mapping[str, Any]) -> Tensor | None:
        """Return `-reg_lambda` times the bound on a batch, `(E,)`; the critic stays as it is.

        Of rows that lack nothing, and of representations without dropout: noise or gaps on joint
        rows alone would tell them from shuffled ones. Nothing is computed where `reg_lambda` is
        zero, or fewer than two such rows are there.
        """
        if self.options.reg_lambda == 0.0:
            return None
        X, weight = complete_rows(inputs["X"], inputs["weight"], inputs["recorded"])
        if len(weight) < 2:
            return None
        orders = self._orders(len(weight))
        shares = row_shares(weight, orders)
        with _quiet(self.net):
            joint, shuffled = _both(self.net, X, orders)
        frozen = {name: p.detach() for name, p in self.net.critic.named_parameters()}
        both = _standardized(joint, shuffled, shares)
        scores = _split(functional_call(self.net.critic, frozen, (both,)))
        return -self.options.reg_lambda * self.gain(*scores, shares, update=False)


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
    orders = orders.to(embedded.device)
    parts = [part[:, order] for part, order in zip(embedded.unbind(1), orders, strict=True)]
    return side_by_side(embedded), side_by_side(torch.stack(parts, dim=1))


@torch.no_grad()
def score_network(
    net: DependencyNet, X: Mapping[str, Tensor], present: Tensor | None
) -> NDArray[np.float64]:
    """Return T of every row, averaged over members, `(n,)`; in float64, as predictions are."""
    here = None if present is None else present.double()
    double = copy.deepcopy(net).double()
    scores = double.scores({name: x.double() for name, x in X.items()}, here)
    return scores.mean(dim=0).numpy()
