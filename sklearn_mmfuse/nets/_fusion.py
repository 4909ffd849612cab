"""Any fusion as a net: the baselines behind `FusionClassifier` and `FusionRegressor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._base import FusionNet
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._fusions import FUSIONS, FusionSetting
from sklearn_mmfuse.nets._layers import MaskReader
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._separable import SeparableTerm

__all__ = ["FusedNet", "fusion_terms"]


def fusion_terms(fusion: str, modalities: Sequence[str]) -> tuple[Term, ...]:
    """Return a term per modality where a fusion adds them up, and one of all modalities elsewhere.

    Examples
    --------
    >>> from sklearn_mmfuse.nets._fusion import fusion_terms
    >>> [str(term) for term in fusion_terms("late", ["a", "v"])]
    ['a', 'v']
    >>> [str(term) for term in fusion_terms("tensor", ["a", "v"])]
    ['a × v']
    """
    if FUSIONS[fusion].additive:
        return tuple(Term([name]) for name in modalities)
    return (Term(modalities),)


class FusedNet(FusionNet):
    """A fused representation of all modalities, and a linear read-out.

    **Stages**: the prediction.

    **Shape**: `{name: (B, *sample) or (E, B, *sample)}` to terms of `(E, B, C)`.

    A modality that a row lacks is at its mean, a sequence is one step there; a term of all
    modalities is there as long as any of them is.

    Parameters
    ----------
    fusion : str
        A key of `FUSIONS`.
    hidden : tuple of int
        Hidden layers of every perceptron.
    activation : str
        A key of `nets._layers.ACTIVATIONS`.
    options : mapping of str to object
        What single fusions look at.
    in_features, n_outputs, n_members, input_scaling, encoders
        As in :class:`FusionNet`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets import FusedNet
    >>> net = FusedNet(in_features={"a": 3, "v": 2}, fusion="tensor", n_outputs=1, n_members=1,
    ...                input_scaling=None, hidden=(8,), activation="relu",
    ...                options={"tensor_dim": 4})
    >>> net({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)}).values.shape
    torch.Size([1, 1, 5, 1])
    """

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        fusion: str,
        n_outputs: int,
        n_members: int,
        input_scaling: str | None,
        hidden: tuple[int, ...],
        activation: str,
        options: Mapping[str, Any],
        encoders: Mapping[str, EncoderSpec] | None = None,
    ) -> None:
        super().__init__(
            in_features=in_features,
            terms=fusion_terms(fusion, list(in_features)),
            n_outputs=n_outputs,
            n_members=n_members,
            input_scaling=input_scaling,
            encoders=encoders,
        )
        setting = FusionSetting(
            self.in_features,
            self.encoder_specs,
            tuple(hidden),
            activation,
            n_outputs,
            n_members,
            options,
        )
        self.fusion = FUSIONS[fusion](setting)

    @property
    def draws_globally(self) -> bool:
        """Whether modules that may draw from torch's global generators are inside."""
        return super().draws_globally or self.fusion.draws_globally

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.fusion.n_mask_units

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        super().reset_parameters(generators)
        self.fusion.reset_parameters(generators)

    def present_terms(self, present: Tensor) -> Tensor:
        """Return which terms can be computed, `(T, B)`: of all modalities, any is enough."""
        if self.fusion.additive:
            return super().present_terms(present)
        return present.amax(dim=-1).unsqueeze(-2)

    def _standardize(self, X: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        scaled = super()._standardize(X)
        return {name: X[name] if name in self.fusion.unscaled else x for name, x in scaled.items()}

    def _entering(self, X: Mapping[str, Tensor], present: Tensor | None) -> Mapping[str, Tensor]:
        """Return modalities as the fusion expects them, those that rows lack at their means."""
        scaled = self._standardize(X)
        if present is None:
            return self._widen(scaled)
        entering = {}
        for position, (name, x) in enumerate(scaled.items()):
            spec = self.encoder_specs.get(name)
            axes = 1 if spec is None else len(spec.shape)
            here = present[..., position].bool()
            here = here.view(*here.shape, *[1] * axes)
            entering[name] = torch.where(here, x, self._absent(x, axes))
        return self._widen(entering)

    def _absent(self, x: Tensor, axes: int) -> Tensor:
        """Return what stands for a modality that a row lacks."""
        if axes != 2:
            return x.new_zeros(())
        # Fusions step by step know what to do without a modality.
        return x.new_full((), torch.nan) if self.fusion.aligned else _at_mean(x)

    def embed(
        self, X: Mapping[str, Tensor], drop: MaskReader | None = None, present: Tensor | None = None
    ) -> Tensor:
        """Return what the linear read-out reads, `(E, T, B, H)`."""
        return self.fusion.embed(self._entering(X, present), drop)

    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms."""
        return self.read(self.embed(X, MaskReader(mask), present), present)

    def read(self, embedded: Tensor, present: Tensor | None) -> FusionOutput:
        """Return the terms for what `embed` returned."""
        values = self.hide_absent(self.fusion.read(embedded), present)
        stages = (values.sum(dim=1) + self.bias.unsqueeze(1)).unsqueeze(0)
        return FusionOutput(self.terms, values, self.bias, stages)

    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return every term as a function of what each of its modalities brings."""
        return self.fusion.separate(self.scale_inputs(X), self.terms)


def _at_mean(x: Tensor) -> Tensor:
    """Return a sequence of one step at its mean, and padding, `(1, T, d)`.

    Of one step, so that it does not depend on how long the sequences of other rows are.
    """
    steps = torch.full_like(x[..., :1, :, :], torch.nan)
    steps[..., 0, :] = 0.0
    return steps
