"""What every fusion is asked: a representation of all modalities, and outputs read from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Generator, Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._group_mlps import GroupMLPs
from sklearn_mmfuse.nets._layers import MaskReader
from sklearn_mmfuse.nets._separable import JointTerm, SeparableTerm

__all__ = ["Brought", "Fusion", "FusionSetting", "JointFusion", "PerceptronFusion"]

Brought = Mapping[str, Tensor]
OPERATIONS = 10_000  # of a small perceptron, in which costs are counted


@dataclass(frozen=True)
class FusionSetting:
    """The sizes that a fusion is made of.

    Parameters
    ----------
    in_features : mapping of str to int
        The width of each modality, of what its encoder returns where it has one.
    encoders : mapping of str to EncoderSpec
        What reads the modalities.
    hidden : tuple of int
        Hidden layers of every perceptron.
    activation : str
        A key of `nets._layers.ACTIVATIONS`.
    n_outputs, n_members : int
        C and E.
    options : mapping of str to object
        What single fusions look at: `tensor_dim`, `rank`, `state_dim`, `shift`, `language`, ...
    """

    in_features: Mapping[str, int]
    encoders: Mapping[str, EncoderSpec]
    hidden: tuple[int, ...]
    activation: str
    n_outputs: int
    n_members: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""
        return tuple(self.in_features)

    def mlps(
        self,
        groups: Sequence[tuple[str, ...]],
        *,
        in_features: Mapping[str, int] | None = None,
        hidden: Sequence[int] | None = None,
        n_outputs: int | None = None,
    ) -> GroupMLPs:
        """Return perceptrons on these groups: of the modalities, or of features that are given."""
        return GroupMLPs(
            in_features=self.in_features if in_features is None else in_features,
            encoders=self.encoders if in_features is None else None,
            groups=groups,
            hidden=self.hidden if hidden is None else hidden,
            n_outputs=self.n_outputs if n_outputs is None else n_outputs,
            n_members=self.n_members,
            activation=self.activation,
        )


class Fusion(nn.Module, ABC):
    """Modalities in; a fused representation per term, and the outputs that are linear in it.

    An additive fusion has a term per modality, any other a single one of all modalities.

    **Shape**: `{name: (B, *sample) or (E, B, *sample)}` to `(E, T, B, H)` to `(E, T, B, C)`.
    """

    additive: ClassVar[bool] = False
    # Reads sequences step by step, so that step t of each must be about the same moment.
    aligned: ClassVar[bool] = False
    # Whether one modality, the language, plays a part of its own.
    has_language: ClassVar[bool] = False
    # The only encoder of sequences that it works with; None leaves the choice.
    sequence_encoder: ClassVar[str | None] = None

    @classmethod
    def complete(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options with what the fusion has to look up, or say what is missing."""
        return dict(options)

    @property
    @abstractmethod
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""

    @property
    @abstractmethod
    def width(self) -> int:
        """H, the width of the representation of a term."""

    @property
    def draws_globally(self) -> bool:
        """Whether modules inside draw from torch's global generators."""
        return False

    @property
    def unscaled(self) -> tuple[str, ...]:
        """The modalities that must not be standardized."""
        return ()

    @abstractmethod
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""

    @abstractmethod
    def embed(self, x: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the fused representation."""

    @abstractmethod
    def read(self, embedded: Tensor) -> Tensor:
        """Return the outputs for what `embed` returned."""

    @abstractmethod
    def separate(self, x: Brought, terms: Sequence[Term]) -> Sequence[SeparableTerm]:
        """Return the outputs as functions of what each modality brings; not for training."""


class PerceptronFusion(Fusion):
    """Perceptrons on concatenated modalities: one on all of them, or one on each.

    Parameters
    ----------
    setting : FusionSetting
        Sizes.
    """

    def __init__(self, setting: FusionSetting) -> None:
        super().__init__()
        groups = [(name,) for name in setting.names] if self.additive else [setting.names]
        self.mlps = setting.mlps(groups)
        self._width = setting.hidden[-1] if setting.hidden else setting.n_outputs

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.mlps.n_mask_units

    @property
    def width(self) -> int:
        """H, the width of the representation of a term."""
        return self._width

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.mlps.reset_parameters(generators)

    def embed(self, x: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return what the last layer reads; without hidden layers the outputs."""
        return self.mlps.embed(x, drop)

    def read(self, embedded: Tensor) -> Tensor:
        """Return the outputs for what `embed` returned."""
        return self.mlps.read(embedded)

    def separate(self, x: Brought, terms: Sequence[Term]) -> Sequence[SeparableTerm]:
        """Return the outputs as functions of what each modality brings."""
        return self.mlps.separate(x, terms)


class JointFusion(Fusion):
    """One representation of all modalities, and a perceptron on it.

    A subclass says what each modality brings on its own and how that is combined.

    Parameters
    ----------
    setting : FusionSetting
        Sizes.
    width : int
        Of what `combine` returns.
    hidden : tuple of int, optional
        Hidden layers of the perceptron; those of the setting by default.
    """

    def __init__(
        self, setting: FusionSetting, width: int, *, hidden: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.names = setting.names
        self._hidden = setting.hidden if hidden is None else hidden
        self._width = self._hidden[-1] if self._hidden else width
        self.head = setting.mlps([("fused",)], in_features={"fused": width}, hidden=self._hidden)

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.head.n_mask_units

    @property
    def width(self) -> int:
        """H, the width of the representation."""
        return self._width

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.head.reset_parameters(generators)

    @abstractmethod
    def bring(self, x: Brought, drop: MaskReader | None = None) -> dict[str, Tensor]:
        """Return what each modality adds on its own, `(1 or E, B, ...)`."""

    @abstractmethod
    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the representation `(E, B, width)` of what was brought."""

    def operations(self, brought: Brought) -> int:
        """Return about how many multiplications of a row follow `bring`."""
        return sum(weight[0].numel() for weight in self.head.parameters())

    def embed(self, x: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return what the linear read-out reads."""
        drop = drop or MaskReader(None)
        return self._embed_fused(self.combine(self.bring(x, drop), drop), drop)

    def _embed_fused(self, fused: Tensor, drop: MaskReader | None = None) -> Tensor:
        return self.head.embed({"fused": fused}, drop) if self._hidden else fused.unsqueeze(1)

    def read(self, embedded: Tensor) -> Tensor:
        """Return the outputs for what `embed` returned."""
        if self._hidden:
            return self.head.read(embedded)
        return self.head({"fused": embedded.squeeze(1)})

    def separate(self, x: Brought, terms: Sequence[Term]) -> Sequence[SeparableTerm]:
        """Return the outputs as a function of what each modality brings."""
        brought = self.bring(x)
        cost = 1 + self.operations(brought) // OPERATIONS
        return [JointTerm(terms, self.names, brought, self._outputs, cost)]

    def _outputs(self, brought: Brought) -> Tensor:
        return self.read(self._embed_fused(self.combine(brought))).squeeze(1)
