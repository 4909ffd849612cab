"""InTense and MNL: a linear map of every modality and of centered products of modalities.

Behind `InTenseClassifier` and `InTenseRegressor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._base import MAX_ROWS, FusionNet, PopulationRows
from sklearn_mmfuse.nets._centering import Products, centering_constants, contract, vbn_scale
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._group_mlps import GroupMLPs
from sklearn_mmfuse.nets._layers import ACTIVATIONS, MaskReader, of_members, uniform_fan_in_
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._row_view import Inputs
from sklearn_mmfuse.nets._separable import ProductTerm, SeparableTerm

__all__ = ["InTenseNet"]

MAX_VALUES = 2**23  # of products at once, in prediction
NORM_EPS = 1e-12
RISE = 0.125  # of all epochs, over which interactions come to count more in the penalty

Axes = tuple[int, ...]


@dataclass(frozen=True)
class _Statistics:
    """What features and products are normalized by.

    `mean` and `block_scale`, mean and inverse norm of each modality's features; `factor_scale`, the
    inverse norm of what enters products; `constants`, by order, what products are centered by, and
    `product_scales` their inverse norms afterwards, `(E * G, 1, 1)`.
    """

    mean: Tensor
    block_scale: Tensor
    factor_scale: Tensor
    constants: Sequence[Mapping[Axes, Tensor]]
    product_scales: Sequence[Tensor]


@dataclass(frozen=True)
class _Normalized:
    """Centered blocks `(E, M, B, W)`, factors `(E, M, B, D)`, their products by order, scales."""

    centered: Tensor
    factor: Tensor
    products: Sequence[Sequence[Products]]
    known: _Statistics

    @property
    def blocks(self) -> Tensor:
        """The blocks of modalities, of unit norm."""
        return self.centered * self.known.block_scale

    def by_order(self) -> Iterator[tuple[Sequence[Products], Mapping[Axes, Tensor], Tensor]]:
        """Yield products, the constants to center them by, and their scale, order by order."""
        return zip(self.products, self.known.constants, self.known.product_scales, strict=True)


@dataclass(frozen=True)
class _RowWeights:
    """What rows count, by modality `(1 or E, 1 or M, B)` and, by order, for products.

    Those are `(1, B)` or `(E * G, B)`.

    A row counts where it has all that is read; weights add up to 1.
    """

    alone: Tensor
    together: Mapping[int, Tensor]
    complete: bool


class InTenseNet(FusionNet):
    """A linear fusion of normalized blocks: one per modality, one per interaction.

    A modality is read by an encoder, whose output is its block; `tensor_dim` linear combinations of
    it enter the products. In training mode blocks are normalized by the batch; else by the
    population (:meth:`set_population`).

    **Stages**: the sum of all terms.

    **Shape**: `{name: (B, *sample) or (E, B, *sample)}` to terms of `(E, B, C)`.

    Parameters
    ----------
    hidden : tuple of int
        Layers of each modality's perceptron; the last is the width of its block. Without any, the
        block is a linear map to `tensor_dim`.
    activation : str
        A key of `nets._layers.ACTIVATIONS`.
    tensor_dim : int
        How many features of a modality enter a product.
    normalization : {"iterbn", "vbn", None}
        Center products so that they hold nothing of fewer modalities; by their mean alone; or
        normalize nothing.
    p, reg_lambda, interaction_weight : float
        Of the penalty, :meth:`regularizer`.
    in_features, terms, n_outputs, n_members, input_scaling, encoders
        As in :class:`FusionNet`; modalities whose encoder is "identity" have no perceptron.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._terms import interaction_terms
    >>> from sklearn_mmfuse.nets import InTenseNet
    >>> net = InTenseNet(in_features={"a": 3, "v": 2}, terms=interaction_terms(["a", "v"], 2),
    ...                  n_outputs=1, n_members=1, input_scaling=None, hidden=(8,),
    ...                  activation="relu", tensor_dim=4, normalization="iterbn", p=1.0,
    ...                  reg_lambda=0.01)
    >>> out = net({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)})
    >>> [str(term) for term in out.terms]
    ['a', 'v', 'a × v']
    """

    summarized: Tensor

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        terms: Sequence[Term],
        n_outputs: int,
        n_members: int,
        input_scaling: str | None,
        hidden: tuple[int, ...],
        activation: str,
        tensor_dim: int,
        normalization: str | None,
        p: float,
        reg_lambda: float,
        interaction_weight: float = 1.0,
        encoders: Mapping[str, EncoderSpec] | None = None,
    ) -> None:
        super().__init__(
            in_features=in_features,
            terms=terms,
            n_outputs=n_outputs,
            n_members=n_members,
            input_scaling=input_scaling,
            encoders=encoders,
        )
        self.tensor_dim, self.normalization = tensor_dim, normalization
        self.p: float | Tensor = p
        self.reg_lambda: float | Tensor = reg_lambda
        self.interaction_weight: float | Tensor = interaction_weight
        self._progress: float | Tensor = 1.0
        self.names = tuple(in_features)
        plain = [
            name
            for name, spec in self.encoder_specs.items()
            if spec.kind == "identity" and name in in_features
        ]
        self._has_activation = bool(hidden)
        self._activation = ACTIVATIONS[activation]
        block_width = hidden[-1] if hidden else tensor_dim
        self.widths = [in_features[n] if n in plain else block_width for n in self.names]
        self._read = [name for name in self.names if name not in plain]
        self.perceptrons = (
            GroupMLPs(
                in_features=in_features,
                encoders=self.encoder_specs,
                groups=[(name,) for name in self._read],
                hidden=hidden[:-1],
                n_outputs=block_width,
                n_members=n_members,
                activation=activation,
            )
            if self._read
            else None
        )
        n_modalities, width = len(self.names), max(self.widths)
        self.orders = [list(group) for _, group in groupby(terms, key=lambda term: term.order)]
        self.projection = nn.Parameter(torch.zeros(n_members, n_modalities, width, tensor_dim))
        self.fusion = nn.ParameterList(
            torch.zeros(n_members, len(group), self._n_components(group[0].order), n_outputs)
            for group in self.orders
        )
        self.free_bias = nn.Parameter(torch.zeros(n_members, n_outputs))
        self._make_buffers(n_members, n_modalities, width)
        summarized = [float(len(self._sample_shape(name)) > 1) for name in self._read]
        self._has_summaries = any(summarized)
        self.register_buffer(
            "summarized", torch.tensor(summarized).view(-1, 1, 1), persistent=False
        )

    def _n_components(self, order: int) -> int:
        return max(self.widths) if order == 1 else int(self.tensor_dim**order)

    def _make_buffers(self, n_members: int, n_modalities: int, width: int) -> None:
        self.register_buffer("mean", torch.zeros(n_members, n_modalities, 1, width))
        for key in ("block_scale", "factor_scale"):
            self.register_buffer(key, torch.ones(n_members, n_modalities, 1, 1))
        for order, group in self._products():
            positions = [[self.names.index(name) for name in t.modalities] for t in group]
            self.register_buffer(
                f"members_{order}", torch.tensor(positions).T.flatten(), persistent=False
            )
            lead = n_members * len(group)
            self.register_buffer(f"product_scale_{order}", torch.ones(lead, 1, 1))
            for axes in self._centered_axes(order):
                constant = torch.zeros(lead, *[self.tensor_dim] * len(axes))
                self.register_buffer(_constant_name(order, axes), constant)

    def _products(self) -> list[tuple[int, list[Term]]]:
        return [(group[0].order, group) for group in self.orders if group[0].order > 1]

    def _centered_axes(self, order: int) -> list[Axes]:
        """Return over which axes products of an order are centered by constants."""
        every = tuple(range(order))
        if self.normalization == "vbn":
            return [every]
        sizes = range(1, order + 1) if self.normalization == "iterbn" else ()
        return [axes for size in sizes for axes in combinations(every, size)]

    # Parameters ----------------------------------------------------------------------------------

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        if self.perceptrons is None:
            return 0
        own = len(self._read) * max(self.widths) if self._has_activation else 0
        return self.perceptrons.n_mask_units + own

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone.

        All blocks of the fusion start with the same norm, however wide they are.
        """
        super().reset_parameters(generators)
        if self.perceptrons is not None:
            self.perceptrons.reset_parameters(generators)
        nn.init.zeros_(self.projection)
        nn.init.zeros_(self.free_bias)
        for position, width in enumerate(self.widths):
            uniform_fan_in_(self.projection[:, position, :width], width, generators)
        position_of = {name: i for i, name in enumerate(self.names)}
        for group, weight in zip(self.orders, self.fusion, strict=True):
            nn.init.zeros_(weight)
            for position, term in enumerate(group):
                live = weight[:, position]
                if term.order == 1:
                    live = live[:, : self.widths[position_of[term.modalities[0]]]]
                uniform_fan_in_(live, 1, generators)
                live /= live.flatten(1).norm(dim=1).view(-1, 1, 1) * len(self.terms)

    def regularizer(self) -> Tensor | None:
        """Return `reg_lambda` times a product of two norms of the norms of the blocks, `(E,)`.

        `(sum over blocks of norm^q)^(1 / q)`, and the same with the norms of interactions times
        `interaction_weight`; with 1, this is eq. 25. Over the first epochs, it rises from 1.

        NOTE[DIFF] The paper has no weights. Were they in both factors, a target of nothing but
        interactions would be shrunk by their square; were they there from the start, interactions
        that nothing announces would be gone before they were found.
        """
        if isinstance(self.reg_lambda, float) and self.reg_lambda == 0:
            return None
        norms = [(weight.square().sum(dim=(2, 3)) + NORM_EPS).sqrt() for weight in self.fusion]
        counts = self._interaction_weight_now().reshape(-1, 1)
        weighted = [
            norm if group[0].order == 1 else norm * counts
            for group, norm in zip(self.orders, norms, strict=True)
        ]
        q = torch.as_tensor(self.q).to(self.bias)
        plain, counted = (
            torch.cat(blocks, dim=1).pow(q.unsqueeze(-1)).sum(dim=1).pow(1 / q)
            for blocks in (norms, weighted)
        )
        penalty: Tensor = plain * counted
        return self.reg_lambda * penalty

    def begin_epoch(self, progress: float | Tensor) -> None:
        """Hear what share of all epochs is done: over the first, `interaction_weight` rises."""
        self._progress = progress

    def _interaction_weight_now(self) -> Tensor:
        weight, progress = (
            torch.as_tensor(value).to(self.bias)
            for value in (self.interaction_weight, self._progress)
        )
        return 1.0 + (weight - 1.0) * (progress / RISE).clamp_max(1.0)

    @property
    def q(self) -> float | Tensor:
        """The exponent of the block norm."""
        return 2 * self.p / (self.p + 1)

    @property
    def member_options(self) -> tuple[str, ...]:
        """Attributes that may differ between members: a number, or a tensor `(E,)`."""
        return ("p", "reg_lambda", "interaction_weight")

    # Forward -------------------------------------------------------------------------------------

    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms and the supervised prediction."""
        represented = self._represent(X, MaskReader(mask))
        if self.training and self.has_population:
            rows = self._row_weights(represented, present, weight)
            values = self._read_blocks(self._normalize(represented, rows))
        else:
            values = self._read_blocks(self._normalize(represented))
        values = self.hide_absent(values, present)
        bias = self.bias + self.free_bias
        stage = values.sum(dim=1) + bias.unsqueeze(1)
        return FusionOutput(self.terms, values, bias, stages=stage.unsqueeze(0))

    def _represent(self, X: Mapping[str, Tensor], drop: MaskReader) -> Tensor:
        """Return the features of all modalities, `(E, M, B, W)`, narrower ones with zeros."""
        x, blocks = self.scale_inputs(X), {}
        if self.perceptrons is not None:
            encoded = self.perceptrons(x, drop)
            if self._has_activation:
                encoded = self._drop(self._activation(encoded), drop)
            if len(self._read) == len(self.names):
                features: Tensor = encoded
                return features
            blocks = dict(zip(self._read, encoded.unbind(1), strict=True))
        width, padded = max(self.widths), []
        for name, own in zip(self.names, self.widths, strict=True):
            block = of_members(blocks.get(name, x[name]), self.n_members)
            padded.append(nn.functional.pad(block, (0, width - own)))
        return torch.stack(padded, dim=1)

    def _drop(self, x: Tensor, drop: MaskReader) -> Tensor:
        """Drop units `(E, M, B, H)`: of vectors to zero, of what summarizes more to their means.

        What is made of a summary hardly varies either; of vectors, this noise is welcome (persons:
        0.752 instead of 0.714).
        """
        return drop.to_mean(x, self.summarized) if self._has_summaries else drop(x)

    def _represent_in_pieces(self, X: Inputs, at_most: int = MAX_ROWS) -> Iterator[Tensor]:
        for piece, _ in self.row_pieces(X, at_most=at_most):
            yield self._represent(piece, MaskReader(None))

    def _normalize(self, represented: Tensor, rows: _RowWeights | None = None) -> _Normalized:
        """Normalize by the statistics of these rows, weighted, or by those of the population."""
        if rows is None:
            known = self._population()
            centered = represented - known.mean
            # Nothing may shift a factor after centering: the projection has no bias.
            factor = torch.matmul(centered, self.projection) * known.factor_scale
            products = [self._pieces(factor, order) for order, _ in self._products()]
            return _Normalized(centered, factor, products, known)
        alone = rows.alone.expand(self.n_members, len(self.names), -1).flatten(0, 1)
        mean = torch.bmm(alone.unsqueeze(1), represented.flatten(0, 1))
        mean = mean.unflatten(0, (self.n_members, -1))
        centered = represented - mean
        factor = torch.matmul(centered, self.projection)
        block_scale, factor_scale = (
            vbn_scale(x.flatten(0, 1), mean.flatten(0, 1), alone).unflatten(0, mean.shape[:2])
            for x in (centered, factor)
        )
        factor = factor * factor_scale
        constants, scales, products = [], [], []
        for order, _ in self._products():
            pieces = self._pieces(factor, order, rows.together[order])
            own, scale = self._product_statistics(pieces, complete=rows.complete)
            products.append(pieces)
            constants.append(own)
            scales.append(scale)
        known = _Statistics(mean, block_scale, factor_scale, constants, scales)
        return _Normalized(centered, factor, products, known)

    def _read_blocks(self, normed: _Normalized) -> Tensor:
        """Return what the fusion reads from every block, `(E, T, B, C)`."""
        values, by_order = [], normed.by_order()
        for group, fusion in zip(self.orders, self.fusion, strict=True):
            order = group[0].order
            if order == 1:
                alone = self._alone(group)
                read = torch.matmul(normed.centered[:, alone], fusion)
                values.append(read * normed.known.block_scale[:, alone])
                continue
            pieces, constants, scale = next(by_order)
            weight = fusion.flatten(0, 1)
            read = torch.cat(
                [
                    products.read(own, weight[part])
                    for products, own, part in _piecewise(pieces, constants)
                ]
            )
            values.append((read * scale).unflatten(0, (self.n_members, len(group))))
        return torch.cat(values, dim=1)

    def _alone(self, group: Sequence[Term]) -> list[int] | slice:
        positions = [self.names.index(term.modalities[0]) for term in group]
        return slice(None) if positions == list(range(len(self.names))) else positions

    # Statistics ----------------------------------------------------------------------------------

    def _row_weights(
        self, like: Tensor, present: Tensor | None, weight: Tensor | None
    ) -> _RowWeights:
        weight = like.new_ones(like.shape[2]) if weight is None else weight.to(like)
        weight = torch.atleast_2d(weight).unsqueeze(1)  # (1 or E, 1, B)
        if present is None:
            share = weight / weight.sum(dim=2, keepdim=True)
            together = {
                order: share[:, 0]
                if len(share) == 1
                else share.expand(-1, len(group), -1).flatten(0, 1)
                for order, group in self._products()
            }
            return _RowWeights(share, together, complete=True)
        present = present.to(like)
        alone = present.transpose(-1, -2) * weight
        terms = self.present_terms(present) * weight
        alone, terms = (x / x.sum(dim=2, keepdim=True).clamp_min(NORM_EPS) for x in (alone, terms))
        sizes = [len(group) for group in self.orders]
        together = {
            group[0].order: own.expand(self.n_members, -1, -1).flatten(0, 1)
            for group, own in zip(self.orders, terms.split(sizes, dim=1), strict=True)
        }
        return _RowWeights(alone, together, complete=False)

    def _product_statistics(
        self, pieces: Sequence[Products], *, complete: bool
    ) -> tuple[dict[Axes, Tensor], Tensor]:
        """Return what products are centered by, and their inverse norm afterwards."""
        constants: dict[Axes, list[Tensor]] = {}
        scales = []
        for products in pieces:
            # Factors have mean zero, unless some rows that have one of them lack another.
            found = products.moments(smallest=2 if complete else 1)
            order = len(products.factors)
            used = {axes: found[axes] for axes in self._centered_axes(order) if axes in found}
            own = centering_constants(used, order)
            scales.append(products.scale(own, found))
            for axes, constant in own.items():
                constants.setdefault(axes, []).append(constant)
        return {axes: torch.cat(own) for axes, own in constants.items()}, torch.cat(scales)

    def _pieces(self, factor: Tensor, order: int, weight: Tensor | None = None) -> list[Products]:
        """Return the products of an order, in pieces that fit into memory."""
        members: Tensor = getattr(self, f"members_{order}")
        slots = [x.flatten(0, 1) for x in factor.index_select(1, members).chunk(order, dim=1)]
        pieces = []
        for part in self._parts(order, factor.shape[2]):
            own = weight if weight is None or len(weight) == 1 else weight[part]
            pieces.append(Products([x[part] for x in slots], own, keep=self.training))
        return pieces

    def _parts(self, order: int, n_rows: int) -> list[slice]:
        """Return slices of the products of an order that fit into memory together."""
        n_products = self.n_members * len(getattr(self, f"members_{order}")) // order
        if self.training:  # where everything is kept for the gradient anyway
            return [slice(0, n_products)]
        step = max(1, MAX_VALUES // (n_rows * self.tensor_dim ** (order - 1)))
        return [slice(start, start + step) for start in range(0, n_products, step)]

    def _population(self) -> _Statistics:
        """Return the statistics that :meth:`set_population` has set."""
        kept = dict(self.named_buffers())
        return _Statistics(
            kept["mean"],
            kept["block_scale"],
            kept["factor_scale"],
            [
                {axes: kept[_constant_name(order, axes)] for axes in self._centered_axes(order)}
                for order, _ in self._products()
            ],
            [kept[f"product_scale_{order}"] for order, _ in self._products()],
        )

    @property
    def decays(self) -> dict[str, str]:
        """Which parameters weight decay treats otherwise: patterns with "never" or "late"."""
        return {**super().decays, "fusion*": "never"}  # which have a penalty of their own

    @property
    def has_population(self) -> bool:
        """Whether predictions are normalized by statistics of the training rows."""
        return self.normalization is not None

    @torch.no_grad()
    def set_population(self, rows: PopulationRows) -> None:
        """Normalize by these rows from now on, in one pass of the encoders over them.

        NOTE[DIFF] The authors predict with running averages over the last batches.
        """
        if not self.has_population:
            return
        represented = torch.cat(list(self._represent_in_pieces(rows.inputs_in_place)), dim=2)
        weights = self._row_weights(represented, rows.present, rows.weight)
        found = self._normalize(represented, weights).known
        kept = dict(self.named_buffers())
        for key in ("mean", "block_scale", "factor_scale"):
            kept[key].copy_(getattr(found, key))
        for (order, _), constants, scale in zip(
            self._products(), found.constants, found.product_scales, strict=True
        ):
            kept[f"product_scale_{order}"].copy_(scale)
            for axes in self._centered_axes(order):
                buffer = kept[_constant_name(order, axes)]
                buffer.copy_(constants[axes]) if axes in constants else buffer.zero_()

    # The fusion layer, for who refits or explains it ---------------------------------------------

    @torch.no_grad()
    def fusion_features(self, rows: PopulationRows) -> Tensor:
        """Return all normalized blocks side by side, `(E, n, F)`; zero where they are absent."""
        pieces = []
        at_once = MAX_VALUES // sum(self.block_sizes)
        for represented in self._represent_in_pieces(rows.inputs_in_place, at_once):
            normed = self._normalize(represented)
            by_order, blocks = normed.by_order(), []
            for group in self.orders:
                order = group[0].order
                if order == 1:
                    blocks.append(normed.blocks[:, self._alone(group)])
                    continue
                products, constants, scale = next(by_order)
                psi = torch.cat([p.centered(own) for p, own, _ in _piecewise(products, constants)])
                blocks.append((psi * scale).unflatten(0, (-1, len(group))))
            pieces.append(torch.cat([block.transpose(1, 2).flatten(2) for block in blocks], 2))
        features = torch.cat(pieces, dim=1)
        if rows.present is None:
            return features
        there = self.present_terms(rows.present.to(features)).T  # (n, T)
        return features * there.repeat_interleave(torch.tensor(self.block_sizes), dim=1)

    @property
    def block_sizes(self) -> list[int]:
        """How many of the features each term reads, in their order."""
        return [self._n_components(group[0].order) for group in self.orders for _ in group]

    def fusion_weights(self) -> Tensor:
        """Return the weights of the features, `(E, F, C)`."""
        return torch.cat([weight.detach().flatten(1, 2) for weight in self.fusion], dim=1)

    @torch.no_grad()
    def set_fusion(self, weights: Tensor, bias: Tensor) -> None:
        """Set the weights of the features, `(E, F, C)`, and the whole bias, `(E, C)`."""
        start = 0
        for weight in self.fusion:
            stop = start + weight.shape[1] * weight.shape[2]
            weight.copy_(weights[:, start:stop].reshape(weight.shape))
            start = stop
        self.free_bias.copy_(bias - self.bias)

    @torch.no_grad()
    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return every term as a function of what each of its modalities brings.

        A centered product is linear in each factor beside a 1, so it is a product of such.
        """
        normed = self._normalize(self._represent(X, MaskReader(None)))
        augmented = nn.functional.pad(normed.factor, (0, 1), value=1.0)
        of_blocks = dict(zip(self.names, normed.blocks.unbind(1), strict=True))
        of_products = dict(zip(self.names, augmented.unbind(1), strict=True))
        zero = torch.zeros(self.n_members, 1, self.n_outputs).to(augmented)
        return [
            ProductTerm(
                term,
                {m: (of_blocks if term.order == 1 else of_products)[m] for m in term.modalities},
                weight,
                zero,
            )
            for term, weight in zip(self.terms, self._augmented_weights(normed), strict=True)
        ]

    def _augmented_weights(self, normed: _Normalized) -> Iterator[Tensor]:
        """Yield, term by term, what is read from the outer product of factors and ones."""
        by_order = normed.by_order()
        for group, fusion in zip(self.orders, self.fusion, strict=True):
            order = group[0].order
            if order == 1:
                yield from fusion.unbind(1)
                continue
            _, constants, scale = next(by_order)
            whole = _with_ones(fusion.flatten(0, 1), constants, [self.tensor_dim] * order)
            yield from (whole * scale).unflatten(0, (self.n_members, len(group))).unbind(1)


def _with_ones(weight: Tensor, constants: Mapping[Axes, Tensor], sizes: Sequence[int]) -> Tensor:
    """Return the weights `(N, (D + 1) ** k, C)` of the outer product of factors with a 1 appended.

    Index D of an axis is its 1: there the axis is constant.
    """
    every = tuple(range(len(sizes)))
    apart = weight.unflatten(1, sizes)
    whole = weight.new_zeros(len(weight), *[size + 1 for size in sizes], weight.shape[2])
    for axes in [(), *constants]:
        part = contract(apart, every, constants[axes], axes) if axes else apart
        index = [size if i in axes else slice(0, size) for i, size in enumerate(sizes)]
        whole[(slice(None), *index)] += part
    return whole.flatten(1, len(sizes))


def _constant_name(order: int, axes: Axes) -> str:
    return f"constant_{order}_{''.join(map(str, axes))}"


def _piecewise(
    pieces: Sequence[Products], constants: Mapping[Axes, Tensor]
) -> Iterator[tuple[Products, Mapping[Axes, Tensor], slice]]:
    """Yield pieces of products, the constants of each, and where it stands among all."""
    start = 0
    for products in pieces:
        part = slice(start, start + len(products.factors[0]))
        yield products, {axes: constant[part] for axes, constant in constants.items()}, part
        start = part.stop
