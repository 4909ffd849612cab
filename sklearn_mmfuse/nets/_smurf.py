"""SMURF: late fusion whose nets tell apart what is unique to a modality and what is redundant.

Behind `SMURFClassifier` and `SMURFRegressor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._base import FusionNet
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._group_mlps import GroupMLPs
from sklearn_mmfuse.nets._layers import MaskReader
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._separable import SeparableTerm
from sklearn_mmfuse.nets._stages import Stages

__all__ = ["SMURFNet", "smurf_terms"]


def smurf_terms(modalities: Sequence[str], max_order: int) -> tuple[Term, ...]:
    """Return, for every subset, a unique term and a redundant one per other subset of its order.

    Examples
    --------
    >>> from sklearn_mmfuse.nets._smurf import smurf_terms
    >>> [str(term) for term in smurf_terms(["a", "v"], 2)]
    ['a (unique)', 'a (redundant with v)', 'v (unique)', 'v (redundant with a)', 'a × v (unique)']
    """
    terms = []
    for order in range(1, max_order + 1):
        subsets = list(combinations(modalities, order))
        for subset in subsets:
            terms.append(Term(subset, "unique"))
            partners = [other for other in subsets if other != subset]
            terms.extend(Term(subset, "redundant", other) for other in partners)
    return tuple(terms)


class SMURFNet(FusionNet):
    """One perceptron per subset of modalities, with an output per term.

    **Stages**: the sum of all terms (`max_order=1`), or one per order, as in MRO (appendix A).

    **Shape**: `{name: (B, d) or (E, B, d)}` to terms of `(E, B, C)`; `aux["embeddings"]`, what the
    last layer of each modality's perceptron reads, `(E, M, B, H)`; where rows lack modalities,
    `aux["present"]` `(M, B)` and `aux["present_terms"]` `(T, B)`.

    Parameters
    ----------
    modalities : sequence of str
        In the order in which terms are enumerated.
    max_order : int
        The largest subsets.
    hidden : tuple of int
        Hidden layers of every perceptron.
    activation : str
        A key of `nets._layers.ACTIVATIONS`.
    in_features, n_outputs, n_members, input_scaling, encoders
        As in :class:`FusionNet`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets import SMURFNet
    >>> net = SMURFNet(in_features={"a": 3, "v": 2}, modalities=["a", "v"], max_order=1,
    ...                n_outputs=1, n_members=1, input_scaling=None, hidden=(8,),
    ...                activation="relu")
    >>> out = net({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)})
    >>> [str(term) for term in out.terms]
    ['a (unique)', 'a (redundant with v)', 'v (unique)', 'v (redundant with a)']
    """

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        modalities: Sequence[str],
        max_order: int,
        n_outputs: int,
        n_members: int,
        input_scaling: str | None,
        hidden: tuple[int, ...],
        activation: str,
        encoders: Mapping[str, EncoderSpec] | None = None,
    ) -> None:
        super().__init__(
            in_features=in_features,
            terms=smurf_terms(modalities, max_order),
            n_outputs=n_outputs,
            n_members=n_members,
            input_scaling=input_scaling,
            encoders=encoders,
        )
        self.blocks = nn.ModuleList()
        for order in range(1, max_order + 1):
            subsets = list(combinations(modalities, order))
            # A unique part, and a redundant one per other subset: as many as there are subsets.
            mlps = GroupMLPs(
                in_features=in_features,
                encoders=self.encoder_specs,
                groups=subsets,
                hidden=hidden,
                n_outputs=len(subsets) * n_outputs,
                n_members=n_members,
                activation=activation,
            )
            self.blocks.append(mlps)
        self.stages = Stages(self.terms, staged=max_order > 1)

    def _mlps(self) -> list[GroupMLPs]:
        return [block for block in self.blocks if isinstance(block, GroupMLPs)]

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return sum(mlps.n_mask_units for mlps in self._mlps())

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone.

        The outputs start at zero: the loss then decides the sign of every part before the penalty
        can lock two redundant parts into the wrong one, which a random start does.
        """
        super().reset_parameters(generators)
        for mlps in self._mlps():
            mlps.reset_parameters(generators)
            mlps.silence_outputs()

    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms, the supervised predictions and the embeddings of the modalities."""
        x, drop = self.scale_inputs(X), MaskReader(mask)
        embeddings = [mlps.embed(x, drop) for mlps in self._mlps()]
        values = torch.cat(
            [
                self._by_term(mlps.read(embedded))
                for mlps, embedded in zip(self._mlps(), embeddings, strict=True)
            ],
            dim=1,
        )
        values = self.hide_absent(values, present)
        aux = {"embeddings": embeddings[0]}
        if present is not None:
            aux |= {"present": present.transpose(-1, -2)}
            aux |= {"present_terms": self.present_terms(present)}
        return FusionOutput(self.terms, values, self.bias, self.stages(values, self.bias), aux)

    def _by_term(self, out: Tensor) -> Tensor:
        """Return `(E, G * G, B, C)` from `(E, G, B, G * C)`: G outputs of each of G subsets."""
        n_subsets = out.shape[1]
        return out.unflatten(3, (n_subsets, self.n_outputs)).transpose(2, 3).flatten(1, 2)

    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return every term as a function of what each of its modalities brings."""
        x, terms = self.scale_inputs(X), iter(self.terms)
        separated: list[SeparableTerm] = []
        for mlps in self._mlps():
            whole = mlps.separate(x, [Term(group) for group in mlps.groups])
            for subset in whole:
                for start in range(0, len(whole) * self.n_outputs, self.n_outputs):
                    stop = start + self.n_outputs
                    separated.append(subset.take_outputs(next(terms), start, stop))
        return separated
