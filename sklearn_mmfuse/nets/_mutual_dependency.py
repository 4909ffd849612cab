"""A fused representation beside a critic that tells it from one of shuffled modalities.

Behind `MutualDependencyClassifier` and `MutualDependencyRegressor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfuse.nets._base import PopulationRows
from sklearn_mmfuse.nets._critic import Critic
from sklearn_mmfuse.nets._fusion import FusedNet
from sklearn_mmfuse.nets._row_view import Inputs
from sklearn_mmfuse.nets._shuffling import (
    complete_rows,
    draw_orders,
    row_shares,
    shuffle_modalities,
)

SHUFFLES = 3  # of all training rows, to take the shift of T by
COPIES = 5  # of all representations that are there at once
FLOOR = 1e-12  # of a unit's mean square; a variance below is rounding

__all__ = ["DependencyNet", "side_by_side", "unit_statistics"]


class DependencyNet(FusedNet):
    """Any fusion, and a critic of its representation Z; predictions are those of the fusion.

    The critic plays against the rest: it has an optimizer of its own. It reads Z with every unit
    standardized, over the batch in training and over the training rows afterwards: otherwise the
    representation would grow without end, which a Wasserstein distance rewards.

    Parameters
    ----------
    critic_hidden : tuple of int
        Hidden layers of the critic.
    lipschitz, critic_output
        As in :class:`~sklearn_mmfuse.nets._critic.Critic`. A Lipschitz critic is shifted so that
        the mean of T over shuffled training rows is zero, any other so that that of e^T is one.
    **fused : Any
        As in :class:`FusedNet`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets import DependencyNet
    >>> net = DependencyNet(in_features={"a": 3, "v": 2}, fusion="late", n_outputs=1, n_members=1,
    ...                     input_scaling=None, hidden=(8,), activation="relu", options={},
    ...                     critic_hidden=(16,), lipschitz=True, critic_output="linear")
    >>> net.scores({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)}).shape
    torch.Size([1, 5])
    """

    fused_shift: Tensor
    fused_scale: Tensor
    subtracted: Tensor

    def __init__(
        self,
        *,
        critic_hidden: tuple[int, ...],
        lipschitz: bool,
        critic_output: str,
        **fused: Any,
    ) -> None:
        super().__init__(**fused)
        width = len(self.terms) * self.fusion.width
        self.critic = Critic(
            in_features=width,
            hidden=critic_hidden,
            n_members=self.n_members,
            lipschitz=lipschitz,
            scale=width**-0.5,  # a distance per unit, so that its weight means the same for any
            output=critic_output,
        )
        self.register_buffer("fused_shift", torch.zeros(self.n_members, 1, width))
        self.register_buffer("fused_scale", torch.ones(self.n_members, 1, width))
        self.register_buffer("subtracted", torch.zeros(self.n_members, 1))

    @property
    def trained_apart(self) -> tuple[str, ...]:
        """Prefixes of the parameters that the optimizer of the net leaves alone."""
        return ("critic.",)

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters, the critic's last: the fusion is what it is without a critic."""
        super().reset_parameters(generators)
        self.critic.reset_parameters(generators)

    def represent(self, X: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return the representations of all terms side by side, `(E, B, D)`."""
        return side_by_side(self.embed(X, None, present))

    @property
    def has_population(self) -> bool:
        """Whether predictions depend on statistics of the training rows: the critic's do."""
        return True

    @property
    def n_population_values(self) -> int:
        """How many numbers to count of every row and member for :meth:`set_population`."""
        return COPIES * len(self.terms) * self.fusion.width

    @torch.no_grad()
    def set_population(self, rows: PopulationRows) -> None:
        """Take mean and spread of every unit, and the shift of T, over rows without gaps."""
        X, weight = complete_rows(rows.inputs_in_place, rows.weight, rows.present)
        n_rows = weight.shape[-1]
        if n_rows < 2:
            return
        generator = torch.Generator().manual_seed(0)  # the same rows, the same numbers
        share = weight / weight.sum(-1, keepdim=True)
        shift, scale = unit_statistics(self._represent_all(X), share)
        self.fused_shift.copy_(shift)
        self.fused_scale.copy_(scale)
        scores, shares = [], []
        for _ in range(SHUFFLES):
            orders = draw_orders(n_rows, len(X), generator)
            orders = orders.expand(*weight.shape[:-1], *orders.shape)
            fused = self._represent_all(shuffle_modalities(X, orders))
            scores.append(self.critic((fused - shift) * scale))
            shares.append(row_shares(weight, orders)[1] / SHUFFLES)
        t, share = torch.cat(scores, dim=1), torch.cat(shares, dim=-1)
        if self.critic.lipschitz:
            mean = (t * share).sum(dim=1)
        else:
            mean = torch.logsumexp(t + share.log(), dim=1)
        self.subtracted.copy_(mean.unsqueeze(1))

    def _represent_all(self, X: Inputs, present: Tensor | None = None) -> Tensor:
        pieces = self.row_pieces(X, present)
        return torch.cat([self.represent(piece, here) for piece, here in pieces], dim=1)

    def scores(self, X: Inputs, present: Tensor | None = None) -> Tensor:
        """Return T of every row, shifted, `(E, B)`."""
        fused = self._represent_all(X, present)
        result: Tensor = self.critic((fused - self.fused_shift) * self.fused_scale)
        return result - self.subtracted


def side_by_side(embedded: Tensor) -> Tensor:
    """Return `(E, T, B, H)` as `(E, B, T * H)`."""
    return embedded.transpose(1, 2).flatten(2)


def unit_statistics(fused: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the inverse spread of units `(E, B, D)`, `(E, 1, D)` each.

    A unit that does not vary has scale zero. `share` `(B,)` or `(E, B)` adds up to 1.
    """
    share = share.unsqueeze(-1)
    mean = (fused * share).sum(dim=1, keepdim=True)
    variance = ((fused - mean).square() * share).sum(dim=1, keepdim=True)
    least = FLOOR * mean.square() + torch.finfo(fused.dtype).tiny
    return mean, torch.where(variance > least, variance.clamp_min(least).rsqrt(), 0.0)
