"""What every net returns; losses, decompositions and plots know nothing else about a net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from sklearn_mmfuse._terms import Term

__all__ = ["FusionOutput"]


@dataclass(frozen=True)
class FusionOutput:
    """The addends of a batch of predictions.

    `sum(terms) + bias` is the raw prediction, in every net.

    **Shape** (E members, T terms, S stages, B rows, C raw outputs): `values` `(E, T, B, C)`,
    `bias` `(E, C)`, `stages` `(S, E, B, C)`.

    Parameters
    ----------
    keys : tuple of Term
        What the entries of the second axis of `values` are.
    values : Tensor
        The addends, in one tensor: training never takes them apart.
    bias : Tensor
        What is predicted before any modality is read.
    stages : Tensor
        The predictions that the base loss supervises; they include the bias.
    aux : mapping of str to Tensor
        What a penalty may look at.
    """

    keys: tuple[Term, ...]
    values: Tensor
    bias: Tensor
    stages: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def terms(self) -> dict[Term, Tensor]:
        """The addends by term, `(E, B, C)` each."""
        return dict(zip(self.keys, self.values.unbind(1), strict=True))

    @property
    def raw(self) -> Tensor:
        """The raw prediction, `(E, B, C)`."""
        return self.values.sum(dim=1) + self.bias.unsqueeze(1)
