"""Multimodal Routing: terms that are assigned, sample by sample, to what they agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._params import POSITIVE, POSITIVE_INT, at_least, choice
from sklearn_mmfuse._routing_coefficients import RoutingCoefficients
from sklearn_mmfuse._terms import Term, interaction_terms, subset_terms
from sklearn_mmfuse._training import run_network
from sklearn_mmfuse.estimators._base import BaseFusionEstimator
from sklearn_mmfuse.estimators._docs import documents_common
from sklearn_mmfuse.estimators._explained import Blocks
from sklearn_mmfuse.estimators._fitting import FitData, as_tensors
from sklearn_mmfuse.estimators._labels import MultilabelClassifierMixin
from sklearn_mmfuse.estimators._targets import FusionRegressorMixin
from sklearn_mmfuse.nets import FusionNet, RoutingNet

__all__ = ["RoutingClassifier", "RoutingRegressor"]


class _BaseRouting(BaseFusionEstimator):
    _reads_constants: ClassVar[bool] = True
    _forgotten: ClassVar[tuple[str, ...]] = (
        *BaseFusionEstimator._forgotten,
        "classes_",
        "label_names_",
        "global_routing_",
    )

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusionEstimator._parameter_constraints,
        "n_routing": [at_least(0)],
        "temperature": [POSITIVE],
        "concept_dim": [POSITIVE_INT],
        "feature_dim": [POSITIVE_INT],
        "routing": ["boolean"],
        "max_order": [POSITIVE_INT, None],
    }

    def __init__(
        self,
        *,
        n_routing: int,
        temperature: float,
        concept_dim: int,
        feature_dim: int,
        routing: bool,
        max_order: int | None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.n_routing = n_routing
        self.temperature = temperature
        self.concept_dim = concept_dim
        self.feature_dim = feature_dim
        self.routing = routing
        self.max_order = max_order

    def _concept_names(self) -> Sequence[Any]:
        """Return a name per concept."""
        raise NotImplementedError

    def _concept_outputs(self) -> list[list[float]]:
        """Return how logits of concepts add up to the raw prediction, `(J, C)`."""
        raise NotImplementedError

    def _make_terms(self) -> tuple[Term, ...]:
        if self.routing and self.n_routing == 0:
            raise ValueError(
                "n_routing=0 leaves no round of routing; use n_routing >= 1, or routing=False for "
                "the additive baseline, whose coefficients are all equal."
            )
        return subset_terms(self.modality_names_, self.max_order)

    def _net_config(
        self, in_features: Mapping[str, int], n_outputs: int, n_rows: int
    ) -> dict[str, Any]:
        # Enumerated in sorted order: the net must not depend on the order of the modalities.
        order = max(term.order for term in self.terms_)
        return {
            "dtype": self.dtype,
            "terms": interaction_terms(sorted(in_features), order),
            "in_features": dict(in_features),
            "concept_outputs": self._concept_outputs(),
            "n_members": 1,
            "input_scaling": self.input_scaling,
            "n_routing": self.n_routing if self.routing else 0,
            "feature_dim": self.feature_dim,
            "temperature": float(self.temperature),
            "concept_dim": self.concept_dim,
            "hidden": self._widths,
            "activation": self.activation,
        }

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        return RoutingNet(**{key: value for key, value in config.items() if key != "dtype"})

    def _describe(
        self, net: FusionNet, parts: Decomposition, data: FitData, index: pd.Index | None
    ) -> None:
        super()._describe(net, parts, data, index)
        routed = self._route(net, data.blocks)
        self.global_routing_ = routed.summary(sample_weight=data.weight, groups=data.groups)

    def _route(self, net: FusionNet, blocks: Blocks) -> RoutingCoefficients:
        X, present = as_tensors(blocks, net.in_features)
        outputs = list(run_network(net, X, present))
        position = {term: i for i, term in enumerate(net.terms)}
        order = [position[term] for term in self.terms_]
        p, r = (
            np.concatenate(
                [output.aux[key].mean(dim=0).cpu().numpy() for output in outputs], axis=1
            )
            for key in ("activation", "coefficients")
        )
        p, r = p[order].T, r[order].transpose(1, 0, 2)
        if present is not None:
            absent = net.present_terms(present.to(net.reads)).cpu().numpy()[order].T == 0
            p[absent], r[absent] = np.nan, np.nan
        return RoutingCoefficients(p, r, self.terms_, self._concept_names())

    def routing_coefficients(
        self, X: Any, *, available: Sequence[str] | None = None
    ) -> RoutingCoefficients:
        """Return how each sample was routed.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        routed : RoutingCoefficients
            `p` (n, n_terms), `r` and their product `pr` (n, n_terms, n_concepts), the latter for
            a local explanation as in Figure 3; `summary(groups=person)` for a global one.
        """
        check_is_fitted(self)
        return self._route(self.module_, self._check_again(X, available))


@documents_common
class RoutingClassifier(MultilabelClassifierMixin, _BaseRouting):
    """Classification by terms that are routed, sample by sample, to the classes they speak for.

    Every subset of modalities has features and an activation. Each class is a concept, made of the
    features of all terms; a term is heard by the concepts that it agrees with. With an indicator
    matrix for `y`, each label is a concept, and a sample may have several labels.

    Parameters
    ----------
    n_routing : int, default=2
        Rounds in which terms are assigned to the concepts that they agree with, and concepts are
        made anew of their terms (Procedure 1); 1 is the paper's Routing*.
    temperature : float, default=16.0
        What similarities are divided by, beside sqrt(`concept_dim`). The lower, the more a term
        goes to one concept alone, and the less is left of what it says against the others; the
        higher, the closer to `routing=False`. 1 is the authors' code.
    concept_dim : int, default=64
        Width of a concept, d_c.
    feature_dim : int, default=64
        Width of the features of a term, d_f.
    routing : bool, default=True
        False is the paper's additive baseline (GAM): every coefficient is 1 / J, with J concepts.
    max_order : int or None, default=None
        The largest subsets of modalities with a term of their own; None is all.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights; with labels as in
        `sklearn.utils.class_weight.compute_sample_weight`.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or (n_labels, 2)
        The class labels; with an indicator matrix, `[0, 1]` for each label.
    label_names_ : list of str
        The labels, from the columns of a data frame or counted from 0; with an indicator matrix.
    global_routing_ : DataFrame
        Per quantity ("p", "r", "pr"), term and concept, the mean over the training rows (weighted
        as in training), its 95 % interval, over persons where `groups` were given, and whether
        that excludes uniform routing. See `RoutingCoefficients.summary`.
    {attributes}

    Notes
    -----
    Of J concepts, term i contributes `p_i r_ij o_j^T (f_i W_ij)` to the logit of concept j (eq. 3).
    `p_i` and `f_i` come from the modalities of the term alone, but `r_ij` depends on what the other
    terms of the same sample say: the contribution of "text" is not a function of text alone, not
    even with `max_order=1`. `decompose(purify=True)` tells what the whole prediction owes to each
    subset of modalities. Coefficients of a term add up to 1 over concepts, so that they say where a
    term goes, and not how much a concept owes to it: for that, look at contributions. With two
    concepts this matters most, where what speaks against one speaks for the other.

    NOTE[DIFF] Similarities are divided by sqrt(`concept_dim`), as in the authors' code, and by a
    `temperature`: sharp coefficients cost accuracy on few samples (see the benchmarks). First
    concepts are the sum of all votes divided by J, without activations ("uniform weights"); there
    is no dropout inside the routing; read-outs do not start at zero, where no gradient reaches the
    encoders. Two classes have two concepts, whose logits are subtracted: routing among one is none.
    The encoder of a subset reads its modalities together (the authors' trimodal features add up
    pairs). AdamW replaces Adam; contributions are centered, see `decompose`.

    References
    ----------
    Tsai, Ma, Yang, Salakhutdinov and Morency. Multimodal Routing: Improving Local and Global
    Interpretability of Multimodal Language Analysis. EMNLP 2020.

    Examples
    --------
    >>> from sklearn_mmfuse import RoutingClassifier
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> cancer = load_breast_cancer_modalities()
    >>> model = RoutingClassifier(max_epochs=20, random_state=0)
    >>> model.fit(cancer.data, cancer.target).score(cancer.data, cancer.target) > 0.95
    True
    >>> routed = model.routing_coefficients(cancer.data)
    >>> routed
    <RoutingCoefficients of 569 samples: 7 terms, 2 concepts>
    >>> bool(abs(routed.r.sum(axis=2) - 1).max() < 1e-12)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseRouting._parameter_constraints,
        "class_weight": [dict, list, choice("balanced"), None],
    }

    def __init__(
        self,
        *,
        n_routing: int = 2,
        temperature: float = 16.0,
        concept_dim: int = 64,
        feature_dim: int = 64,
        routing: bool = True,
        max_order: int | None = None,
        class_weight: Any = None,
        modalities: list[str] | dict[str, Any] | None = None,
        encoder: Any = "auto",
        hidden_layer_sizes: int | tuple[int, ...] = (64,),
        activation: str = "relu",
        dropout: float = 0.3,
        input_scaling: str | None = "clip",
        numerical_embedding: str | None = "plr",
        learning_rate: float = 3e-3,
        learning_rate_schedule: str = "cosine",
        weight_decay: float | str = "auto",
        batch_size: int | str = "auto",
        max_epochs: int = 100,
        early_stopping: bool | str = "auto",
        validation_fraction: Any = 0.1,
        n_iter_no_change: int = 20,
        max_grad_norm: float | None = 5.0,
        missing: str = "recover",
        modality_dropout: float = 0.0,
        n_members: int = 1,
        bootstrap: bool = False,
        dtype: str = "float32",
        device: str = "auto",
        net_params: dict[str, Any] | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_routing=n_routing,
            temperature=temperature,
            concept_dim=concept_dim,
            feature_dim=feature_dim,
            routing=routing,
            max_order=max_order,
            modalities=modalities,
            encoder=encoder,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            dropout=dropout,
            input_scaling=input_scaling,
            numerical_embedding=numerical_embedding,
            learning_rate=learning_rate,
            learning_rate_schedule=learning_rate_schedule,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            max_grad_norm=max_grad_norm,
            missing=missing,
            modality_dropout=modality_dropout,
            n_members=n_members,
            bootstrap=bootstrap,
            dtype=dtype,
            device=device,
            net_params=net_params,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def _concept_names(self) -> Sequence[Any]:
        names: Sequence[Any] = self.label_names_ if self._has_labels else self.classes_
        return names

    def _concept_outputs(self) -> list[list[float]]:
        if not self._has_labels and len(self.classes_) == 2:
            return [[-1.0], [1.0]]
        identity: list[list[float]] = np.eye(len(self._concept_names())).tolist()
        return identity


@documents_common
class RoutingRegressor(FusionRegressorMixin, _BaseRouting):
    """Regression by terms that are routed, sample by sample, to latent concepts.

    The twin of :class:`RoutingClassifier`; contributions come in the units of `y`.

    Parameters
    ----------
    n_concepts : int, default=4
        Latent concepts, at least 2, whose logits add up to the prediction: among one there is
        nothing to route.
    n_routing : int, default=2
        Rounds in which terms are assigned to the concepts that they agree with, and concepts are
        made anew of their terms (Procedure 1); 1 is the paper's Routing*.
    temperature : float, default=16.0
        What similarities are divided by, beside sqrt(`concept_dim`). The lower, the more a term
        goes to one concept alone, and the less is left of what it says against the others; the
        higher, the closer to `routing=False`. 1 is the authors' code.
    concept_dim : int, default=64
        Width of a concept, d_c.
    feature_dim : int, default=64
        Width of the features of a term, d_f.
    routing : bool, default=True
        False is the paper's additive baseline (GAM): every coefficient is 1 / J, with J concepts.
    max_order : int or None, default=None
        The largest subsets of modalities with a term of their own; None is all.
    loss : {"squared_error", "absolute_error"}, default="squared_error"
        Of the standardized target.
    {parameters}

    Attributes
    ----------
    global_routing_ : DataFrame
        Per quantity ("p", "r", "pr"), term and concept, the mean over the training rows (weighted
        as in training), its 95 % interval, over persons where `groups` were given, and whether
        that excludes uniform routing. See `RoutingCoefficients.summary`.
    {attributes}

    Notes
    -----
    Of J concepts, term i contributes `p_i r_ij o_j^T (f_i W_ij)` to the logit of concept j (eq. 3).
    `p_i` and `f_i` come from the modalities of the term alone, but `r_ij` depends on what the other
    terms of the same sample say: the contribution of "text" is not a function of text alone, not
    even with `max_order=1`. `decompose(purify=True)` tells what the whole prediction owes to each
    subset of modalities. Coefficients of a term add up to 1 over concepts, so that they say where a
    term goes, and not how much a concept owes to it: for that, look at contributions. With two
    concepts this matters most, where what speaks against one speaks for the other.

    NOTE[DIFF] Similarities are divided by sqrt(`concept_dim`), as in the authors' code, and by a
    `temperature`: sharp coefficients cost accuracy on few samples (see the benchmarks). First
    concepts are the sum of all votes divided by J, without activations ("uniform weights"); there
    is no dropout inside the routing; read-outs do not start at zero, where no gradient reaches the
    encoders. The encoder of a subset reads its modalities together (the authors' trimodal
    features add up pairs). AdamW replaces Adam; contributions are centered, see `decompose`.

    The paper has no regression. Concepts are latent here, in no order, and may change places from
    one seed to the next: `r` tells whether terms are treated alike, not what a concept means.

    References
    ----------
    Tsai, Ma, Yang, Salakhutdinov and Morency. Multimodal Routing: Improving Local and Global
    Interpretability of Multimodal Language Analysis. EMNLP 2020.

    Examples
    --------
    >>> from sklearn_mmfuse import RoutingRegressor
    >>> from sklearn_mmfuse.datasets import make_bimodal
    >>> toy = make_bimodal(1000, random_state=0)
    >>> model = RoutingRegressor(max_epochs=50, random_state=0).fit(toy.data, toy.target)
    >>> model.score(toy.data, toy.target) > 0.9
    True
    >>> model.global_routing_.loc["p"].shape
    (7, 4)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseRouting._parameter_constraints,
        "n_concepts": [at_least(2)],
        "loss": [choice("squared_error", "absolute_error")],
    }

    def __init__(
        self,
        *,
        n_concepts: int = 4,
        n_routing: int = 2,
        temperature: float = 16.0,
        concept_dim: int = 64,
        feature_dim: int = 64,
        routing: bool = True,
        max_order: int | None = None,
        loss: str = "squared_error",
        modalities: list[str] | dict[str, Any] | None = None,
        encoder: Any = "auto",
        hidden_layer_sizes: int | tuple[int, ...] = (64,),
        activation: str = "relu",
        dropout: float = 0.3,
        input_scaling: str | None = "clip",
        numerical_embedding: str | None = "plr",
        learning_rate: float = 3e-3,
        learning_rate_schedule: str = "cosine",
        weight_decay: float | str = "auto",
        batch_size: int | str = "auto",
        max_epochs: int = 100,
        early_stopping: bool | str = "auto",
        validation_fraction: Any = 0.1,
        n_iter_no_change: int = 20,
        max_grad_norm: float | None = 5.0,
        missing: str = "recover",
        modality_dropout: float = 0.0,
        n_members: int = 1,
        bootstrap: bool = False,
        dtype: str = "float32",
        device: str = "auto",
        net_params: dict[str, Any] | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            n_routing=n_routing,
            temperature=temperature,
            concept_dim=concept_dim,
            feature_dim=feature_dim,
            routing=routing,
            max_order=max_order,
            modalities=modalities,
            encoder=encoder,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            dropout=dropout,
            input_scaling=input_scaling,
            numerical_embedding=numerical_embedding,
            learning_rate=learning_rate,
            learning_rate_schedule=learning_rate_schedule,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            max_grad_norm=max_grad_norm,
            missing=missing,
            modality_dropout=modality_dropout,
            n_members=n_members,
            bootstrap=bootstrap,
            dtype=dtype,
            device=device,
            net_params=net_params,
            random_state=random_state,
            verbose=verbose,
        )
        self.n_concepts = n_concepts
        self.loss = loss

    def _concept_names(self) -> Sequence[Any]:
        n_concepts = len(self._config["concept_outputs"])  # as fitted
        return [f"concept {number}" for number in range(1, n_concepts + 1)]

    def _concept_outputs(self) -> list[list[float]]:
        return [[1.0]] * self.n_concepts
