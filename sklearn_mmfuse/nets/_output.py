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

    **Shape** (E members, B rows, C raw outputs): `terms` `(E, B, C)` each, `bias` `(E, C)`,
    `stages` `(E, B, C)` each.

    Parameters
    ----------
    terms : mapping of Term to Tensor
        The addends.
    bias : Tensor
        What is predicted before any modality is read.
    stages : tuple of Tensor
        The predictions that the base loss supervises; they include the bias.
    aux : mapping of str to Tensor
        What a penalty may look at.
    """

    terms: Mapping[Term, Tensor]
    bias: Tensor
    stages: tuple[Tensor, ...]
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def raw(self) -> Tensor:
        """The raw prediction, `(E, B, C)`."""
        return sum(self.terms.values(), start=self.bias.unsqueeze(1))
