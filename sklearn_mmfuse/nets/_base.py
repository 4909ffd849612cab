"""The base of every net: what training and the estimators may ask of one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._layers import InputScaling
from sklearn_mmfuse.nets._low_rank_products import LowRankProducts
from sklearn_mmfuse.nets._numerical_embedding import PeriodicEmbedding
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._row_view import Inputs
from sklearn_mmfuse.nets._separable import SeparableTerm

__all__ = ["FusionNet", "PopulationRows", "rows_at_once"]

MAX_ROWS = 1024
MAX_VALUES = 2**21  # sequences and images come in fewer rows at once


def rows_at_once(X: Inputs) -> int:
    """Return how many rows to predict at once."""
    return _rows_at_once(x.shape[1:] for x in X.values())


def _rows_at_once(samples: Iterable[Sequence[int]]) -> int:
    per_row = sum(math.prod(shape) for shape in samples if len(shape) > 1)
    return max(1, min(MAX_ROWS, MAX_VALUES // max(per_row, 1)))


class PopulationRows(Protocol):
    """Rows that statistics are taken over; `Rows` of `_training` are such."""

    @property
    def inputs_in_place(self) -> Inputs: ...

    @property
    def weight(self) -> Tensor: ...

    @property
    def present(self) -> Tensor | None: ...


class FusionNet(nn.Module, ABC):
    """A batch of modalities in, a :class:`FusionOutput` out, for E members at once.

    A forward pass is a function of parameters, buffers and its arguments alone: no generator is
    drawn from (dropout masks come in as data) and no buffer changes. A user's own modules are the
    exception, see `draws_globally`.

    Parameters
    ----------
    in_features : mapping of str to int
        The width of each modality, of what its encoder returns where it has one.
    encoders : mapping of str to EncoderSpec, optional
        What reads the modalities that are no feature vectors.
    terms : sequence of Term
        The addends, sorted by order.
    n_outputs, n_members : int
        C raw outputs; E nets side by side.
    input_scaling : {"standard", "clip", None}
        What is done to the inputs first; "clip" also clips at 3 standard deviations.
    """

    bias: Tensor
    reads: Tensor

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        terms: Sequence[Term],
        n_outputs: int,
        n_members: int,
        input_scaling: str | None,
        encoders: Mapping[str, EncoderSpec] | None = None,
    ) -> None:
        super().__init__()
        self.in_features = dict(in_features)
        self.encoder_specs = dict(encoders or {})
        self.terms = tuple(terms)
        self.register_buffer("bias", torch.zeros(n_members, n_outputs))
        reads = [[float(m in term.modalities) for m in self.in_features] for term in self.terms]
        self.register_buffer("reads", torch.tensor(reads), persistent=False)  # (T, M)
        clip = 3.0 if input_scaling == "clip" else None
        self.scalings = nn.ModuleList(
            InputScaling(
                n_members=n_members,
                feature_shape=self._feature_shape(name),
                clip=clip,
                gain=self._scaling_gain(name),
            )
            for name in (self.in_features if input_scaling else ())
        )
        self.embeddings = nn.ModuleList(self._make_embedding(name) for name in self.in_features)

    def _make_embedding(self, name: str) -> nn.Module:
        """Return what widens a modality of few features, or leaves it alone."""
        spec = self.encoder_specs.get(name)
        if spec is None or spec.embedding is None:
            return nn.Identity()
        n_frequencies, scale = spec.embedding
        return PeriodicEmbedding(
            n_members=self.n_members,
            n_features=spec.feature_shape[0],
            n_frequencies=n_frequencies,
            scale=scale,
            gain=spec.gain,
        )

    def _scaling_gain(self, name: str) -> float:
        """Return what scaling multiplies by; a numerical embedding, which comes later, does so."""
        spec = self.encoder_specs.get(name)
        return 1.0 if spec is None or spec.embedding is not None else spec.gain

    def _feature_shape(self, name: str) -> tuple[int, ...]:
        spec = self.encoder_specs.get(name)
        return (self.in_features[name],) if spec is None else spec.feature_shape

    @property
    def draws_globally(self) -> bool:
        """Whether a user's modules, which may draw from torch's global generators, are inside."""
        return any(callable(spec.kind) for spec in self.encoder_specs.values())

    @property
    def n_members(self) -> int:
        """E, the nets side by side."""
        return self.bias.shape[0]

    @property
    def n_outputs(self) -> int:
        """C, the raw outputs."""
        return self.bias.shape[1]

    @property
    @abstractmethod
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        for position, embedding in enumerate(self.embeddings):
            if isinstance(embedding, PeriodicEmbedding):
                embedding.reset_parameters(generators, position)

    @abstractmethod
    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms of a batch.

        **Shape**: each modality `(B, *sample)` (the same rows for every member) or
        `(E, B, *sample)`; `mask` `(E, B * n_mask_units)`, of zeros and 1 / keep-probability;
        `present` `(B, M)` or `(E, B, M)`, modalities in the order of `in_features`, zeros where a
        row lacks one: the terms that read it are zero there; `weight` `(B,)` or `(E, B)`, what each
        row counts where a net takes statistics of the batch.
        """

    def present_terms(self, present: Tensor) -> Tensor:
        """Return which terms have all they read, `(T, B)` or `(E, T, B)`, zeros and ones."""
        return ((1.0 - present) @ self.reads.T == 0).to(present.dtype).transpose(-1, -2)

    def hide_absent(self, values: Tensor, present: Tensor | None) -> Tensor:
        """Return terms `(E, T, B, C)` that are zero where a row lacks what they read."""
        return values if present is None else values * self.present_terms(present).unsqueeze(-1)

    @abstractmethod
    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return every term as a function of what each of its modalities brings.

        `X` are rows of a pool, each modality `(B, d)`; not for training.
        """

    def set_input_statistics(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set mean and standard deviation, one per feature, that modalities are standardized by."""
        for name, scaling in zip(self.in_features, self.scalings, strict=False):
            if isinstance(scaling, InputScaling):
                scaling.set_statistics(*statistics[name])
        for name, embedding in zip(self.in_features, self.embeddings, strict=False):
            if isinstance(embedding, PeriodicEmbedding):
                embedding.flatten_constant(statistics[name][1])

    def row_pieces(
        self, X: Inputs, present: Tensor | None = None, *, at_most: int | None = None
    ) -> Iterator[tuple[dict[str, Tensor], Tensor | None]]:
        """Yield rows in pieces that fit into memory, and which modalities those rows have.

        Each modality is `(n, *sample)` or `(E, n, *sample)`, and `present` `(n, M)` or `(E, n, M)`,
        on whatever device; pieces are on that of the net, and in its precision.
        """
        axes = {name: x.dim() - 1 - len(self._sample_shape(name)) for name, x in X.items()}
        first = next(iter(X))
        n = X[first].shape[axes[first]]
        at_once = _rows_at_once(x.shape[axes[name] + 1 :] for name, x in X.items())
        step = max(1, min(at_once, self.max_rows, at_most or MAX_ROWS))
        for start in range(0, n, step):
            length = min(step, n - start)
            piece = {
                name: x.narrow(axes[name], start, length).to(self.bias) for name, x in X.items()
            }
            here = None if present is None else present.narrow(-2, start, length)
            yield piece, None if here is None else here.to(self.bias.device)

    def _sample_shape(self, name: str) -> tuple[int | None, ...]:
        spec = self.encoder_specs.get(name)
        return (self.in_features[name],) if spec is None else spec.shape

    def scale_inputs(self, X: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return modalities, all or some, as the rest of the net expects them."""
        return self._widen(self._standardize(X))

    def _standardize(self, X: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.scalings:
            return X
        return {
            name: scale(X[name])
            for name, scale in zip(self.in_features, self.scalings, strict=True)
            if name in X
        }

    def _widen(self, X: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return standardized modalities with the numerical embeddings of those that have some."""
        return {
            name: embed(X[name])
            for name, embed in zip(self.in_features, self.embeddings, strict=True)
            if name in X
        }

    @property
    def low_rank_products(self) -> LowRankProducts | None:
        """Products of the modalities' own features, where the net has some."""
        return None

    @property
    def decays(self) -> dict[str, str]:
        """Which parameters weight decay treats otherwise: patterns with "never" or "late".

        The first pattern that a name matches counts.
        """
        return {"*bias*": "never"}

    def interaction_weights(self) -> list[Tensor]:
        """Return views `(E, ...)` of weights that may decay more than others."""
        return []

    @property
    def member_options(self) -> tuple[str, ...]:
        """Attributes that may differ between members: a number, or a tensor `(E,)`."""
        return ()

    @property
    def trained_apart(self) -> tuple[str, ...]:
        """Prefixes of the parameters that another player trains, with an optimizer of its own."""
        return ()

    @property
    def has_population(self) -> bool:
        """Whether predictions are normalized by statistics of the training rows."""
        return False

    @property
    def n_population_values(self) -> int:
        """How many numbers to count of every row and member for :meth:`set_population`.

        Of nets that hold several copies of what they represent; of others the inputs stand for it.
        """
        return 0

    def set_population(self, rows: PopulationRows) -> None:
        """Take the statistics that predictions are normalized by, where a net has some.

        `rows` are all training rows. In training mode such a net normalizes by its batch.
        """

    @property
    def max_rows(self) -> int:
        """How many rows to predict at once, by what the net holds of each besides its inputs."""
        return MAX_ROWS

    def training_parts(self) -> Sequence[FusionNet]:
        """Return the nets to train one after the other, each on what the earlier ones leave."""
        return (self,)

    def begin_part(self, position: int) -> None:
        """Prepare `training_parts()[position]`; the parts before it are trained."""

    def begin_epoch(self, progress: float | Tensor) -> None:
        """Hear what share of all epochs is done, of each member `(E,)`; few penalties depend on it.

        A tensor is the same one in every epoch, until members leave: a step that was recorded
        reads it where it is. A net that was never told stands at the end.
        """

    def regularizer(self) -> Tensor | None:
        """Return the net's own penalty per member, `(E,)`, where a method has one."""
        return None
