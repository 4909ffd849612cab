"""Multimodal Routing: every subset of modalities votes for concepts, and is heard where it agrees.

Behind `RoutingClassifier` and `RoutingRegressor`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.nets._base import MAX_VALUES, FusionNet
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._group_mlps import GroupMLPs
from sklearn_mmfuse.nets._layers import MaskReader, uniform_fan_in_
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._separable import JointTerm, SeparableTerm

__all__ = ["RoutingNet", "route"]


def route(
    votes: Tensor,
    activation: Tensor,
    there: Tensor | None,
    n_routing: int,
    temperature: float = 1.0,
) -> Tensor:
    """Return the routing coefficients of Procedure 1, `(..., T, B, J)`.

    Parameters
    ----------
    votes : Tensor of shape (..., T, B, J, d_c)
        `f_i W_ij`, what every term proposes for every concept.
    activation : Tensor of shape (..., T, B)
        `p_i`.
    there : Tensor of shape (T, B), optional
        Zeros where a row lacks what a term reads: it then has no say in any concept.
    n_routing : int
        Rounds of adjustment (eq. 1) and update (eq. 2) after uniform first concepts.
    temperature : float, default=1.0
        What similarities are divided by, beside sqrt(d_c).

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._routing import route
    >>> votes = torch.tensor([[1.0, 0.0], [3.0, 0.0]]).view(2, 1, 2, 1)  # two terms, two concepts
    >>> route(votes, torch.ones(2, 1), None, n_routing=1).squeeze()
    tensor([[0.8808, 0.1192],
            [0.9975, 0.0025]])
    """
    n_concepts, concept_dim = votes.shape[-2:]
    scale = temperature * math.sqrt(concept_dim)
    loudness = activation if there is None else activation * there
    heard = votes if there is None else votes * there[..., None, None]
    concepts = heard.sum(dim=-4, keepdim=True) / n_concepts
    for round_ in range(n_routing):
        agreement = (votes * concepts).sum(dim=-1) / scale
        coefficients = agreement.softmax(dim=-1)
        if round_ < n_routing - 1:
            weight = (loudness.unsqueeze(-1) * coefficients).unsqueeze(-1)
            concepts = (weight * votes).sum(dim=-4, keepdim=True)
    return coefficients


class RoutingNet(FusionNet):
    """A perceptron per subset of modalities, whose features are routed to concepts.

    The perceptron of subset i returns features `f_i` and, through a sigmoid, an activation `p_i`;
    `logit_j = sum_i p_i r_ij o_j^T (f_i W_ij)` (eq. 3). Outputs are fixed sums of logits.

    **Stages**: the sum of all terms.

    **Shape**: `{name: (B, *sample) or (E, B, *sample)}` to terms of `(E, B, C)`; with J concepts
    `aux["activation"]` `(E, T, B)` and `aux["coefficients"]` `(E, T, B, J)`.

    Parameters
    ----------
    concept_outputs : sequence of sequence of float
        `(J, C)`, how logits of concepts add up to the outputs.
    n_routing : int
        Rounds of routing; 0 leaves every coefficient at 1 / J (the paper's GAM).
    temperature : float
        The higher, the more alike the coefficients of a term.
    feature_dim, concept_dim : int
        d_f and d_c.
    hidden : tuple of int
        Hidden layers of every perceptron.
    activation : str
        A key of `nets._layers.ACTIVATIONS`.
    in_features, terms, n_members, input_scaling, encoders
        As in :class:`FusionNet`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._terms import interaction_terms
    >>> from sklearn_mmfuse.nets import RoutingNet
    >>> net = RoutingNet(in_features={"a": 3, "v": 2}, terms=interaction_terms(["a", "v"], 2),
    ...                  concept_outputs=[[1.0, 0.0], [0.0, 1.0]], n_members=1,
    ...                  input_scaling=None, n_routing=2, temperature=1.0,
    ...                  feature_dim=4, concept_dim=4, hidden=(8,), activation="relu")
    >>> out = net({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)})
    >>> out.values.shape, out.aux["coefficients"].shape
    (torch.Size([1, 3, 5, 2]), torch.Size([1, 3, 5, 2]))
    """

    concept_outputs: Tensor

    def __init__(
        self,
        *,
        in_features: Mapping[str, int],
        terms: Sequence[Term],
        concept_outputs: Sequence[Sequence[float]],
        n_members: int,
        input_scaling: str | None,
        n_routing: int,
        temperature: float,
        feature_dim: int,
        concept_dim: int,
        hidden: tuple[int, ...],
        activation: str,
        encoders: Mapping[str, EncoderSpec] | None = None,
    ) -> None:
        super().__init__(
            in_features=in_features,
            terms=terms,
            n_outputs=len(concept_outputs[0]),
            n_members=n_members,
            input_scaling=input_scaling,
            encoders=encoders,
        )
        self.n_routing, self.temperature = n_routing, temperature
        self.concept_dim = concept_dim
        n_concepts, n_terms = len(concept_outputs), len(self.terms)
        self.perceptrons = GroupMLPs(
            in_features=in_features,
            encoders=self.encoder_specs,
            groups=[term.modalities for term in self.terms],
            hidden=hidden,
            n_outputs=feature_dim + 1,
            n_members=n_members,
            activation=activation,
        )
        self.vote_weights = nn.Parameter(
            torch.zeros(n_members, n_terms, feature_dim, n_concepts * concept_dim)
        )
        self.readout = nn.Parameter(torch.zeros(n_members, 1, 1, n_concepts, concept_dim))
        self.register_buffer("concept_outputs", torch.tensor(concept_outputs), persistent=False)

    @property
    def max_rows(self) -> int:
        """How many rows to predict at once: every term has a vote for every concept."""
        return max(1, MAX_VALUES // self.vote_weights[0, :, 0].numel())

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.perceptrons.n_mask_units

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        super().reset_parameters(generators)
        self.perceptrons.reset_parameters(generators)
        for term in range(len(self.terms)):
            weight = self.vote_weights.data[:, term]
            uniform_fan_in_(weight, weight.shape[1], generators)
        uniform_fan_in_(self.readout.data, self.concept_dim, generators)

    def forward(
        self,
        X: Mapping[str, Tensor],
        mask: Tensor | None = None,
        present: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> FusionOutput:
        """Return the terms, and how they were routed."""
        encoded = self.perceptrons(self.scale_inputs(X), MaskReader(mask))
        return self._routed(encoded, None if present is None else self.present_terms(present))

    def route(self, features: Tensor, activation: Tensor, there: Tensor | None) -> Tensor:
        """Return the routing coefficients, `(E, T, B, J)`; see :func:`route`."""
        n_concepts = len(self.concept_outputs)
        if self.n_routing == 0:
            return features.new_full((*activation.shape, n_concepts), 1.0 / n_concepts)
        votes = torch.matmul(features, self.vote_weights).unflatten(3, (n_concepts, -1))
        return route(votes, activation, there, self.n_routing, self.temperature)

    def _routed(self, encoded: Tensor, there: Tensor | None) -> FusionOutput:
        """Return the output for what the perceptrons return, `(E, T, B, d_f + 1)`."""
        features, activation = encoded[..., :-1], encoded[..., -1].sigmoid()
        coefficients = self.route(features, activation, there)
        # o_j^T (f_i W_ij) = f_i (W_ij o_j): the votes need not be read one by one.
        readout = (self.vote_weights.unflatten(3, self.readout.shape[3:]) * self.readout).sum(
            dim=-1
        )
        logits = activation.unsqueeze(-1) * coefficients * torch.matmul(features, readout)
        values = torch.matmul(logits, self.concept_outputs)
        if there is not None:
            values = values * there.unsqueeze(-1)
        stages = (values.sum(dim=1) + self.bias.unsqueeze(1)).unsqueeze(0)
        aux = {"activation": activation, "coefficients": coefficients}
        return FusionOutput(self.terms, values, self.bias, stages, aux)

    def separate(self, X: Mapping[str, Tensor]) -> Sequence[SeparableTerm]:
        """Return all terms as one: each depends on every modality, through the routing."""

        def routed(brought: Mapping[str, Tensor]) -> Tensor:
            encoded = self.perceptrons.read(self.perceptrons.combine(brought))
            return self._routed(encoded, None).values.transpose(1, 2).flatten(2)

        brought = self.perceptrons.bring(self.scale_inputs(X))
        cost = self.perceptrons.joint_cost(brought)
        return [JointTerm(self.terms, tuple(brought), brought, routed, cost, self.max_rows)]
