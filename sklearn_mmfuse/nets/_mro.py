"""Multimodal Residual Optimization: a net per subset of modalities, supervised order by order.

Behind `MROClassifier` and `MRORegressor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._base import FusionNet
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._group_mlps import GroupMLPs
from sklearn_mmfuse.nets._layers import MaskReader
from sklearn_mmfuse.nets._low_rank_products import LowRankProducts
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._separable import ProductTerm, SeparableTerm
from sklearn_mmfuse.nets._stages import Stages
from sklearn_mmfuse.nets._tensor_product import TensorReadout

__all__ = ["MRONet", "SequentialMRONet", "make_mro_net"]

MAX_MULTIPLIED = 64  # features; products of more of them fit noise, as waves of more do


@dataclass(frozen=True)
class _Shape:
    """The sizes that every block of an MRO net shares."""

    in_features: Mapping[str, int]
    encoders: Mapping[str, EncoderSpec]
    hidden: tuple[int, ...]
    activation: str
    tensor_dim: int
    product_rank: int
    n_outputs: int
    n_members: int

    @property
    def multiplied(self) -> dict[str, int]:
        """How many features the modalities have, without waves, that products read."""
        specs = {name: self.encoders.get(name) for name in self.in_features}
        widths = {
            name: self.in_features[name] if spec is None else spec.feature_shape[0]
            for name, spec in specs.items()
            if spec is None or not spec.is_bank
        }
        return {name: width for name, width in widths.items() if width <= MAX_MULTIPLIED}

    def products(self, groups: Sequence[tuple[str, ...]]) -> LowRankProducts:
        # Of the features alone: products of their waves fit noise.
        return LowRankProducts(
            in_features=self.multiplied,
            groups=groups,
            rank=self.product_rank,
            n_outputs=self.n_outputs,
            n_members=self.n_members,
            gains={name: spec.gain for name, spec in self.encoders.items()},
        )

    def mlps(self, groups: Sequence[tuple[str, ...]], n_outputs: int) -> GroupMLPs:
        return GroupMLPs(
            in_features=self.in_features,
            encoders=self.encoders,
            groups=groups,
            hidden=self.hidden,
            n_outputs=n_outputs,
            n_members=self.n_members,
            activation=self.activation,
        )


def _by_order(terms: Sequence[Term]) -> list[tuple[Term, ...]]:
    return [tuple(group) for _, group in groupby(terms, key=lambda term: term.order)]


class _Block(nn.Module):
    """Computes some terms: `{name: (B, d) or (E, B, d)}` to `(E, T, B, C)`."""

    def separate(self, x: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return the terms as functions of what each of their modalities brings."""
        raise NotImplementedError

    def interaction_weights(self) -> list[Tensor]:
        """Return views of the weights of perceptrons of several modalities, as they are read."""
        return []

    def _parts(self) -> Iterator[GroupMLPs | TensorReadout | LowRankProducts]:
        for module in self.modules():
            if isinstance(module, GroupMLPs | TensorReadout | LowRankProducts):
                yield module

    @property
    def n_mask_units(self) -> int:
        return sum(part.n_mask_units for part in self._parts() if isinstance(part, GroupMLPs))

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        for part in self._parts():
            part.reset_parameters(generators)


class _ConcatTerms(_Block):
    """A perceptron of its own for every term, on the concatenation of its modalities.

    NOTE[DIFF]: beside the perceptron, an interaction of narrow vectors has a product of low rank
    (`product_rank`). A perceptron of few rows learns products badly, those of three modalities
    next to not at all.
    """

    multiplied: Tensor

    def __init__(self, terms: Sequence[Term], shape: _Shape) -> None:
        super().__init__()
        self.terms = tuple(terms)
        self.mlps = shape.mlps([term.modalities for term in terms], shape.n_outputs)
        # Linear maps, which perceptrons without hidden layers are, stay linear.
        wanted = shape.product_rank > 0 and len(shape.hidden) > 0
        read = shape.multiplied.keys() if wanted else set()
        multiplied = [
            i for i, term in enumerate(terms) if term.order > 1 and read >= set(term.modalities)
        ]
        self.register_buffer("multiplied", torch.tensor(multiplied), persistent=False)
        self.products = (
            shape.products([terms[i].modalities for i in multiplied]) if multiplied else None
        )

    def interaction_weights(self) -> list[Tensor]:
        n_single = sum(term.order == 1 for term in self.terms)
        return self.mlps.weights_from(n_single) if n_single < len(self.terms) else []

    def forward(self, x: Mapping[str, Tensor], drop: MaskReader) -> Tensor:
        values = self.mlps(x, drop)
        if self.products is None:
            return values
        return values.index_add(1, self.multiplied, self.products(x))

    def separate(self, x: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        perceptrons = self.mlps.separate(x, self.terms)
        if self.products is None:
            return perceptrons
        multiplied = [self.terms[i] for i in self.multiplied.tolist()]
        return [*perceptrons, *self.products.separate(x, multiplied)]


class _TensorReadouts(_Block):
    """Linear read-outs of outer products, order by order, from a stream of embeddings."""

    def __init__(self, terms: Sequence[Term], shape: _Shape) -> None:
        super().__init__()
        self.orders = _by_order(terms)
        self.readouts = nn.ModuleList(
            TensorReadout(
                order=group[0].order,
                n_groups=len(group),
                embedding_dim=shape.tensor_dim,
                n_outputs=shape.n_outputs,
                n_members=shape.n_members,
            )
            for group in self.orders
        )

    def read(self, embeddings: Iterator[Tensor]) -> Tensor:
        """Read the terms; `embeddings` yields those of the first term's modalities first."""
        values = []
        for group, readout in zip(self.orders, self.readouts, strict=True):
            factors = [[next(embeddings) for _ in term.modalities] for term in group]
            values.append(readout(factors))
        return torch.cat(values, dim=1)

    def take_apart(self, embeddings: Iterator[Tensor]) -> Sequence[SeparableTerm]:
        """Return the terms; `embeddings` as in `read`."""
        terms: list[SeparableTerm] = []
        for group, readout in zip(self.orders, self.readouts, strict=True):
            assert isinstance(readout, TensorReadout)
            weight, bias = readout.linear.weight, readout.linear.bias
            for position, term in enumerate(group):
                features = {name: next(embeddings) for name in term.modalities}
                term_weight, term_bias = weight[:, position], bias[:, position]
                terms.append(ProductTerm(term, features, term_weight, term_bias))
        return terms

    def _from_shared(self, x: Mapping[str, Tensor]) -> Iterator[Tensor]:
        return (x[name] for group in self.orders for t in group for name in t.modalities)

    def forward(self, x: Mapping[str, Tensor], drop: MaskReader) -> Tensor:
        return self.read(self._from_shared(x))

    def separate(self, x: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        return self.take_apart(self._from_shared(x))


class _TensorTerms(_Block):
    """For every term, encoders of its own, an outer product and a linear read-out."""

    def __init__(self, terms: Sequence[Term], shape: _Shape) -> None:
        super().__init__()
        slots = [(name,) for term in terms for name in term.modalities]
        self.encoders = shape.mlps(slots, shape.tensor_dim)
        self.readouts = _TensorReadouts(terms, shape)

    def forward(self, x: Mapping[str, Tensor], drop: MaskReader) -> Tensor:
        return self.readouts.read(iter(self.encoders(x, drop).unbind(1)))

    def separate(self, x: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        return self.readouts.take_apart(iter(self.encoders(x).unbind(1)))


class _SharedEncoderTerms(_Block):
    """One encoder per modality, whose embeddings every term reads.

    NOTE[DIFF]: the authors' tensor fusion detaches predictions only, so there the bimodal loss
    still moves the shared encoders and with them the unimodal prediction. `detach=True` hands
    detached embeddings to every head above order 1, which makes the orders as independent as
    eq. 9 claims.
    """

    def __init__(self, terms: Sequence[Term], shape: _Shape, *, fusion: str, detach: bool) -> None:
        super().__init__()
        self.detach = detach
        self.names = tuple(shape.in_features)
        self.encoders = shape.mlps([(name,) for name in self.names], shape.tensor_dim)
        shape = replace(shape, in_features=dict.fromkeys(self.names, shape.tensor_dim), encoders={})
        # A linear read-out of concatenated embeddings would only add up unimodal effects.
        head_shape = replace(shape, hidden=shape.hidden[-1:] or (shape.tensor_dim,))
        self.heads = nn.ModuleList()
        if single := [term for term in terms if term.order == 1]:
            self.heads.append(_ConcatTerms(single, replace(shape, hidden=())))
        if several := [term for term in terms if term.order > 1]:
            self.heads.append(
                _ConcatTerms(several, head_shape)
                if fusion == "concat"
                else _TensorReadouts(several, shape)
            )

    def _embed(self, x: Mapping[str, Tensor], drop: MaskReader | None = None) -> dict[str, Tensor]:
        return dict(zip(self.names, self.encoders(x, drop).unbind(1), strict=True))

    def separate(self, x: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        embedded = self._embed(x)
        heads = [head for head in self.heads if isinstance(head, _Block)]
        return [term for head in heads for term in head.separate(embedded)]

    def forward(self, x: Mapping[str, Tensor], drop: MaskReader) -> Tensor:
        embedded = self._embed(x, drop)
        values = []
        for head in self.heads:
            values.append(head(embedded, drop))
            if self.detach:
                embedded = {name: value.detach() for name, value in embedded.items()}
        return torch.cat(values, dim=1)


class MRONet(FusionNet):
    """A sum of one net per subset of modalities.

    **Stages** (eq. 9): one per order, `stopgrad(lower orders) + this order`, when `staged`; the
    sum of all terms otherwise (the paper's Joint, and with a single term its Tri).

    **Shape**: `{name: (B, d) or (E, B, d)}` to terms of `(E, B, C)`.

    Parameters
    ----------
    staged : bool
        Supervise each order, or the sum alone.
    stop_gradient : bool
        Keep the loss of an order from moving the orders below it.
    fusion : {"concat", "tensor"}
        A perceptron on concatenated modalities, or a linear read-out of an outer product.
    share_encoders : bool
        One encoder per modality for all terms, or one for each.
    hidden : tuple of int
        Hidden layers of every perceptron or encoder.
    activation : str
        A key of `nets._layers.ACTIVATIONS`.
    tensor_dim : int
        The width of an embedding.
    product_rank : int, default=0
        The rank of the product beside the perceptron of each interaction of narrow vectors.
    in_features, terms, n_outputs, n_members, input_scaling, encoders
        As in :class:`FusionNet`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._terms import interaction_terms
    >>> from sklearn_mmfuse.nets import MRONet
    >>> net = MRONet(in_features={"a": 3, "v": 2}, terms=interaction_terms(["a", "v"], 2),
    ...              n_outputs=1, n_members=1, input_scaling=None, staged=True,
    ...              stop_gradient=True, fusion="concat", share_encoders=False, hidden=(8,),
    ...              activation="relu", tensor_dim=4)
    >>> out = net({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)})
    >>> len(out.stages), [str(term) for term in out.terms]
    (2, ['a', 'v', 'a × v'])
    """

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        terms: Sequence[Term],
        n_outputs: int,
        n_members: int,
        input_scaling: str | None,
        staged: bool,
        stop_gradient: bool,
        fusion: str,
        share_encoders: bool,
        hidden: tuple[int, ...],
        activation: str,
        tensor_dim: int,
        product_rank: int = 0,
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
        shape = _Shape(
            in_features,
            self.encoder_specs,
            tuple(hidden),
            activation,
            tensor_dim,
            product_rank,
            n_outputs,
            n_members,
        )
        self.block: _Block
        if share_encoders:
            detach = staged and stop_gradient
            self.block = _SharedEncoderTerms(terms, shape, fusion=fusion, detach=detach)
        else:
            self.block = (_ConcatTerms if fusion == "concat" else _TensorTerms)(terms, shape)
        self.stages = Stages(self.terms, staged=staged, stop_gradient=stop_gradient)

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.block.n_mask_units

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        super().reset_parameters(generators)
        self.block.reset_parameters(generators)

    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms and the supervised predictions."""
        values = self.block(self.scale_inputs(X), MaskReader(mask))
        values = self.hide_absent(values, present)
        return FusionOutput(self.terms, values, self.bias, stages=self.stages(values, self.bias))

    @property
    def decays(self) -> dict[str, str]:
        """Which parameters weight decay treats otherwise: patterns with "never" or "late".

        A product starts from next to nothing, and grows slower than what decays as fast as weights
        of perceptrons do: it is left to grow, and what the rows do not hold up decays afterwards.
        """
        late = dict.fromkeys(("*products.weights*", "*products.readout"), "late")
        return {**super().decays, **late}

    @property
    def low_rank_products(self) -> LowRankProducts | None:
        """The products beside perceptrons; those of shared embeddings are none of features."""
        return self.block.products if isinstance(self.block, _ConcatTerms) else None

    def interaction_weights(self) -> list[Tensor]:
        """Return views of the weights of interactions' perceptrons on the modalities themselves."""
        return self.block.interaction_weights()

    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return every term as a function of what each of its modalities brings."""
        return self.block.separate(self.scale_inputs(X))


class SequentialMRONet(FusionNet):
    """Sequential MRO (section 4.3): each order trained to the end on what the lower ones leave.

    Parameters
    ----------
    parts : sequence of MRONet
        One net per order, lowest first.
    """

    def __init__(self, parts: Sequence[MRONet]) -> None:
        first = parts[0]
        super().__init__(
            in_features=first.in_features,
            terms=[term for part in parts for term in part.terms],
            n_outputs=first.n_outputs,
            n_members=first.n_members,
            input_scaling=None,
            encoders=first.encoder_specs,
        )
        self.embeddings = nn.ModuleList()  # every part has its own
        self.parts = nn.ModuleList(parts)

    @property
    def n_mask_units(self) -> int:
        """Zero: the parts are trained one by one, never the whole."""
        return 0

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters for all parts."""
        for part in self.training_parts():
            part.reset_parameters(generators)

    def set_input_statistics(self, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Pass the statistics on to every part."""
        for part in self.training_parts():
            part.set_input_statistics(statistics)

    def training_parts(self) -> Sequence[MRONet]:
        """Return the net of each order."""
        return [part for part in self.parts if isinstance(part, MRONet)]

    def begin_part(self, position: int) -> None:
        """Hand the trained shared encoders on to the next order and freeze them there."""
        first, part = self.training_parts()[0].block, self.training_parts()[position].block
        if position and isinstance(part, _SharedEncoderTerms):
            assert isinstance(first, _SharedEncoderTerms)
            part.encoders.load_state_dict(first.encoders.state_dict())
            part.encoders.requires_grad_(False)

    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms of all orders."""
        outputs = [part(X, None, present) for part in self.parts]
        bias = sum((output.bias for output in outputs), start=self.bias)
        stages = torch.stack([output.raw for output in outputs]).cumsum(dim=0)
        values = torch.cat([output.values for output in outputs], dim=1)
        return FusionOutput(self.terms, values, bias, stages=stages + self.bias.unsqueeze(1))

    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return every term as a function of what each of its modalities brings."""
        return [term for part in self.training_parts() for term in part.separate(X)]


def make_mro_net(*, optimization: str, terms: Sequence[Term], **config: object) -> FusionNet:
    """Return the net of an optimization mode: "mro", "smro", "joint" or "single".

    "single" is one net on all modalities: the last of `terms` must be that of all modalities.
    """
    if optimization == "smro":
        return SequentialMRONet(
            [
                MRONet(terms=order, staged=False, **config)  # type: ignore[arg-type]
                for order in _by_order(terms)
            ]
        )
    staged = optimization == "mro"
    return MRONet(
        terms=terms[-1:] if optimization == "single" else terms,
        staged=staged,
        **config,  # type: ignore[arg-type]
    )
