"""Rows whose modalities come from different rows: draws from the product of the marginals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from sklearn_mmfuse.nets._row_view import RowView

__all__ = [
    "Shares",
    "complete_numbers",
    "complete_rows",
    "draw_orders",
    "reorder",
    "row_shares",
    "shuffle_modalities",
]

Rows = TypeVar("Rows", bound=Tensor | RowView)
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


def shuffle_modalities(X: Mapping[str, Rows], orders: Tensor) -> dict[str, Rows]:
    """Return rows each of whose modalities was put in its own order.

    **Shape**: `(n, *sample)` and orders `(M, n)`, or `(E, n, *sample)` and `(E, M, n)`.
    """
    orders = orders.to(next(iter(X.values())).device)
    return {
        name: _pick(x, order) for (name, x), order in zip(X.items(), orders.unbind(-2), strict=True)
    }


def _pick(x: Rows, numbers: Tensor) -> Rows:
    """Return rows `(n,)`, of a tensor or a view, or of members `(E, n)` their own."""
    picked: Any = (
        x[numbers] if numbers.dim() == 1 or isinstance(x, RowView) else reorder(x, numbers)
    )
    return picked


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """Return the rows of members, `(E, n, ...)`, in one order `(n,)` or each in its own `(E, n)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._shuffling import reorder
    >>> x = torch.tensor([[1, 2], [3, 4]])
    >>> reorder(x, torch.tensor([1, 0])).tolist()
    [[2, 1], [4, 3]]
    >>> reorder(x, torch.tensor([[0, 1], [1, 0]])).tolist()
    [[1, 2], [4, 3]]
    """
    if order.dim() == 1:
        return x[:, order]
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), order]


def row_shares(weight: Tensor, orders: Tensor) -> Shares:
    """Return what joint and shuffled rows count, adding up to 1.

    A shuffled row counts as the product of what its modalities' rows do.

    **Shape**: `(n,)` and orders `(M, n)`, or `(E, n)` and `(E, M, n)`, to twice the first.
    """
    orders = orders.to(weight.device)
    each = weight.unsqueeze(-2).expand(orders.shape).gather(-1, orders)
    shuffled = each.prod(dim=-2)
    return weight / weight.sum(-1, keepdim=True), shuffled / shuffled.sum(-1, keepdim=True)


def complete_numbers(present: Tensor) -> Tensor:
    """Return the numbers of the rows that lack no modality."""
    return present.amin(dim=1).nonzero().squeeze(1)


def complete_rows(
    X: Mapping[str, Rows], weight: Tensor, present: Tensor | None
) -> tuple[Mapping[str, Rows], Tensor]:
    """Return the rows that lack no modality: what is absent depends on nothing.

    Members have their own rows only where none has a gap.
    """
    if present is None:
        return X, weight
    rows = complete_numbers(present)
    return {name: _pick(x, rows.to(x.device)) for name, x in X.items()}, weight[rows]
