"""Rows of a tensor that are copied when they are needed, and no sooner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Inputs", "RowView"]


@dataclass(frozen=True)
class RowView:
    """Some rows of a tensor, in some order: of a file that is mapped into memory, for instance.

    Rows of it are a view again, and what :meth:`narrow` returns is a tensor: data that are larger
    than memory are gone through by pieces.

    **Shape**: `block` `(N, *sample)`, and the numbers `picked` `(n,)` of its rows, or all.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets import RowView
    >>> view = RowView(torch.arange(8).reshape(4, 2), torch.tensor([3, 1, 0]))
    >>> view[torch.tensor([2, 0])].narrow(0, 0, 1)
    tensor([[0, 1]])
    """

    block: Tensor
    picked: Tensor | None = None

    def __len__(self) -> int:
        return len(self.block if self.picked is None else self.picked)

    @property
    def shape(self) -> torch.Size:
        """That of the tensor it stands for."""
        return torch.Size((len(self), *self.block.shape[1:]))

    @property
    def device(self) -> torch.device:
        """Where rows are read from."""
        return self.block.device

    def dim(self) -> int:
        """Return the number of axes."""
        return self.block.dim()

    def __getitem__(self, numbers: Tensor) -> RowView:
        return RowView(self.block, numbers if self.picked is None else self.picked[numbers])

    def narrow(self, axis: int, start: int, length: int) -> Tensor:
        """Return rows from `start` on; the axis is the first."""
        if axis != 0:
            raise ValueError(f"A view of rows is read by rows, axis 0; got {axis}.")
        if self.picked is None:
            return self.block.narrow(0, start, length)
        return self.block.index_select(0, self.picked.narrow(0, start, length))


# Modalities `(n, *sample)`, or of members `(E, n, *sample)`, that are read by pieces of their rows.
Inputs = Mapping[str, Tensor | RowView]
