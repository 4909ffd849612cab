"""Outer products of modality embeddings, and linear read-outs of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_mmfuse.nets._layers import GroupLinear

__all__ = ["MAX_PRODUCT", "TensorReadout", "outer_product"]

# Beyond this an outer product is larger than any data set that could fit its weights.
MAX_PRODUCT = 65_536


def outer_product(embeddings: Sequence[Tensor]) -> Tensor:
    """Return the outer product per row, flattened in the order of `embeddings`.

    **Shape**: `(E, B, D_1), ..., (E, B, D_k)` to `(E, B, D_1 * ... * D_k)`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._tensor_product import outer_product
    >>> a, b = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[10.0, 100.0]]])
    >>> outer_product([a, b])
    tensor([[[ 10., 100.,  20., 200.]]])
    """
    product, *others = embeddings
    for other in others:
        product = (product.unsqueeze(-1) * other.unsqueeze(-2)).flatten(-2)
    return product


class TensorReadout(nn.Module):
    """A linear map per order of interaction, from outer products to outputs.

    **Shape**: for G groups of k embeddings `(E, B, D)` each, to `(E, G, B, n_outputs)`.

    Parameters
    ----------
    order : int
        k, how many embeddings one product takes.
    n_groups, embedding_dim, n_outputs, n_members : int
        G, D, C and E.
    """

    def __init__(
        self, *, order: int, n_groups: int, embedding_dim: int, n_outputs: int, n_members: int
    ) -> None:
        super().__init__()
        self.linear = GroupLinear(
            n_members=n_members,
            n_groups=n_groups,
            in_features=embedding_dim**order,
            out_features=n_outputs,
        )

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the weights."""
        self.linear.reset_parameters(generators)

    def forward(self, groups: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return the outputs of all groups."""
        products = torch.stack([outer_product(group) for group in groups], dim=1)
        out: Tensor = self.linear(products.flatten(0, 1))
        return out.unflatten(0, products.shape[:2])
