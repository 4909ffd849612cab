"""Rows whose modalities come from different rows: draws from the product of the marginals."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Shares", "complete_rows", "draw_orders", "row_shares", "shuffle_modalities"]

Shares = tuple[Tensor, Tensor]  # of joint and of shuffled rows, adding up to 1 each


def draw_orders(n_rows: int, n_modalities: int, generator: torch.Generator) -> Tensor:
    """Return one order of the rows per modality, `(M, n)`.

    One random order, rolled by a different number for each modality, so that no shuffled row has
    two modalities of the same row, as permutations drawn independently now and then have. With
    fewer rows than modalities it is such permutations.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._shuffling import draw_orders
    >>> first, second = draw_orders(5, 2, torch.Generator().manual_seed(0))
    >>> bool((first != second).all()), sorted(second.tolist())
    (True, [0, 1, 2, 3, 4])
    """
    if n_rows < n_modalities:
        orders = [torch.randperm(n_rows, generator=generator) for _ in range(n_modalities)]
        return torch.stack(orders)
    base = torch.randperm(n_rows, generator=generator)
    rolls = torch.randperm(n_rows, generator=generator)[:n_modalities]
    return base[(torch.arange(n_rows) + rolls.unsqueeze(1)) % n_rows]


def shuffle_modalities(X: Mapping[str, Tensor], orders: Tensor) -> dict[str, Tensor]:
    """Return rows each of whose modalities was put in its own order."""
    orders = orders.to(next(iter(X.values())).device)
    return {name: x[order] for (name, x), order in zip(X.items(), orders, strict=True)}


def row_shares(weight: Tensor, orders: Tensor) -> Shares:
    """Return what joint and shuffled rows count, adding up to 1.

    A shuffled row counts as the product of what its modalities' rows do.
    """
    shuffled = weight[orders.to(weight.device)].prod(dim=0)
    return weight / weight.sum(), shuffled / shuffled.sum()


def complete_rows(
    X: Mapping[str, Tensor], weight: Tensor, present: Tensor | None
) -> tuple[Mapping[str, Tensor], Tensor]:
    """Return the rows that lack no modality: what is absent depends on nothing."""
    if present is None:
        return X, weight
    rows = present.amin(dim=1).nonzero().squeeze(1)
    return {name: x[rows] for name, x in X.items()}, weight[rows]
