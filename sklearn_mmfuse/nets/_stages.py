"""Which predictions the base loss supervises: the sum of all terms, or order by order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term

__all__ = ["Stages"]


class Stages(nn.Module):
    """One supervised prediction per order (MRO, eq. 9), or the sum of all terms alone.

    **Shape**: terms `(E, T, B, C)` and bias `(E, C)` to `(S, E, B, C)`.

    Parameters
    ----------
    terms : sequence of Term
        What the entries of the second axis are.
    staged : bool
        `stopgrad(lower orders) + this order` for each order, or the sum.
    stop_gradient : bool, default=True
        Keep the loss of an order from moving the orders below it.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._terms import interaction_terms
    >>> from sklearn_mmfuse.nets._stages import Stages
    >>> stages = Stages(interaction_terms(["a", "v"], 2), staged=True)
    >>> stages(torch.ones(1, 3, 5, 1), torch.zeros(1, 1))[:, 0, 0, 0]
    tensor([2., 3.])
    """

    own_order: Tensor
    lower_orders: Tensor

    def __init__(self, terms: Sequence[Term], *, staged: bool, stop_gradient: bool = True) -> None:
        super().__init__()
        self.staged = staged and len({term.order for term in terms}) > 1
        self.stop_gradient = stop_gradient
        # Which terms are of a stage's own order, and which below: (S, T), zeros and ones.
        orders = torch.tensor([term.order for term in terms])
        stages = orders.unique().unsqueeze(1)
        self.register_buffer("own_order", (orders == stages).float(), persistent=False)
        self.register_buffer("lower_orders", (orders < stages).float(), persistent=False)

    def forward(self, values: Tensor, bias: Tensor) -> Tensor:
        """Return the supervised predictions."""
        bias = bias.unsqueeze(1)
        if not self.staged:
            return (values.sum(dim=1) + bias).unsqueeze(0)
        flat = values.transpose(0, 1).flatten(1)
        lower = torch.mm(self.lower_orders, flat.detach() if self.stop_gradient else flat)
        stages = torch.addmm(lower, self.own_order, flat)
        return stages.view(-1, len(values), *values.shape[2:]) + bias
