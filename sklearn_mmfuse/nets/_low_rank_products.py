"""Products of linear maps of modalities: interactions of low rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._layers import of_members, side_streams, uniform_fan_in_
from sklearn_mmfuse.nets._separable import LowRankTerm

__all__ = ["LowRankProducts"]

STREAM = 2**20  # of what is drawn; numerical embeddings have the lower ones


class LowRankProducts(nn.Module):
    """For each of G groups of modalities `sum_r w_r prod_m (x_m W_m + b_m)_r`.

    A tensor of rank R over the modalities instead of all its entries (Liu et al. 2018). `w` starts
    at zero, or where :meth:`start_at` puts it: nothing is multiplied that rows do not ask for.

    **Shape**: `{name: (B, d) or (E, B, d)}` to `(E, G, B, n_outputs)`. Of each modality the first
    columns are read, as many as it has features; numerical embeddings stand behind them.

    Parameters
    ----------
    in_features : mapping of str to int
        The width of each modality.
    groups : sequence of tuple of str
        The modalities of each product, those of fewer modalities first.
    rank, n_outputs, n_members : int
        R, C and E.
    gains : mapping of str to float, optional
        What first weights are divided by, as those of perceptrons are.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._low_rank_products import LowRankProducts
    >>> products = LowRankProducts(in_features={"a": 3, "v": 5}, groups=[("a", "v")], rank=2,
    ...                            n_outputs=1, n_members=4)
    >>> products({"a": torch.zeros(10, 3), "v": torch.zeros(10, 5)}).shape
    torch.Size([4, 1, 10, 1])
    """

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        groups: Sequence[tuple[str, ...]],
        rank: int,
        n_outputs: int,
        n_members: int,
        gains: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.gains = dict(gains or {})
        read = {name for group in groups for name in group}
        self.widths = {name: width for name, width in in_features.items() if name in read}
        # A factor for every group that reads a modality, those of a modality side by side.
        self._slots = [
            (name, g) for name in self.widths for g, group in enumerate(groups) if name in group
        ]
        orders = sorted({len(group) for group in groups})
        self._orders = [self._add_order(order) for order in orders]
        n_slots = {name: sum(own == name for own, _ in self._slots) for name in self.widths}
        # Rows are units, not columns: to multiply by few columns is slow.
        self.weights = nn.ParameterList(
            torch.zeros(n_members, n_slots[name] * rank, width)
            for name, width in self.widths.items()
        )
        self.bias = nn.Parameter(torch.zeros(n_members, len(self._slots) * rank, 1))
        self.readout = nn.Parameter(torch.zeros(n_members, len(groups), n_outputs, rank))

    def _add_order(self, order: int) -> str:
        """Keep where the factors of all products of an order are, `(order, groups)`."""
        at = {slot: position for position, slot in enumerate(self._slots)}
        own = [(g, group) for g, group in enumerate(self.groups) if len(group) == order]
        slots = [[at[group[i], g] for g, group in own] for i in range(order)]
        self.register_buffer(f"slots_{order}", torch.tensor(slots), persistent=False)
        return f"slots_{order}"

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw group after group, so that more groups leave the first ones as they are.

        The generators are left as they are.
        """
        own = side_streams(generators, STREAM + len(self.groups[0]))
        blocks = {slot: block.data for slot, block in zip(self._slots, self._blocks(), strict=True)}
        for g, group in enumerate(self.groups):
            for name in group:
                uniform_fan_in_(blocks[name, g], self.widths[name], own)
                blocks[name, g].div_(self.gains.get(name, 1.0))
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.readout)

    def _blocks(self) -> list[Tensor]:
        """Return the weights of each factor, `(E, R, d)`."""
        rank = self.readout.shape[3]
        return [block for weight in self.weights for block in weight.split(rank, dim=1)]

    @property
    def rank(self) -> int:
        """R."""
        return self.readout.shape[3]

    @torch.no_grad()
    def start_at(
        self, group: int, rank: int, directions: Sequence[Tensor], outputs: Tensor
    ) -> None:
        """Set one product of a group, of the only member: its factors' weights, and `w`."""
        blocks = dict(zip(self._slots, self._blocks(), strict=True))
        for name, direction in zip(self.groups[group], directions, strict=True):
            blocks[name, group][0, rank] = direction.to(self.bias)
        self.readout[0, group, :, rank] = outputs.to(self.bias)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the products of all groups, read out."""
        factors = self._factors(x)
        orders = [getattr(self, name) for name in self._orders]
        products = torch.cat(
            [
                reduce(torch.mul, (factors.index_select(1, slot) for slot in slots.unbind()))
                for slots in orders
            ],
            dim=1,
        )  # (E, G, R, B)
        return torch.matmul(self.readout, products).mT

    def separate(self, x: Mapping[str, Tensor], terms: Sequence[Term]) -> list[LowRankTerm]:
        """Return product g as the function `terms[g]` of its modalities' factors."""
        factors = dict(zip(self._slots, self._factors(x).unbind(1), strict=True))
        return [
            LowRankTerm(term, {name: factors[name, g].mT for name in group}, weight.mT)
            for g, (group, term, weight) in enumerate(
                zip(self.groups, terms, self.readout.unbind(1), strict=True)
            )
        ]

    def _factors(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the factors of all groups, `(E, slots, R, B)`."""
        n_members, _, _, rank = self.readout.shape
        starts = self.bias.split([weight.shape[1] for weight in self.weights], dim=1)
        factors = []
        for (name, width), weight, start in zip(
            self.widths.items(), self.weights, starts, strict=True
        ):
            rows = of_members(x[name][..., :width], n_members)
            factors.append(torch.baddbmm(start, weight, rows.mT))
        return torch.cat(factors, dim=1).unflatten(1, (-1, rank))
