"""InTense and MNL: relevance scores of modalities and of their interactions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._intervals import bootstrap_interval
from sklearn_mmfuse._params import NON_NEGATIVE, POSITIVE_INT, at_least, choice, real_from
from sklearn_mmfuse._terms import Term, check_max_order, interaction_terms
from sklearn_mmfuse._training import (
    BlockFeatures,
    FusionLayer,
    Rows,
)
from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.estimators._base import BaseFusionEstimator
from sklearn_mmfuse.estimators._docs import documents_common
from sklearn_mmfuse.estimators._fitting import FitPlan
from sklearn_mmfuse.estimators._held_out import Predictions, why_chance
from sklearn_mmfuse.estimators._last_layer import (
    REFIT_STEPS,
    LastLayer,
    best_factor,
    fit_last_layer,
    predict_by_last_layer,
)
from sklearn_mmfuse.estimators._targets import FusionClassifierMixin, FusionRegressorMixin
from sklearn_mmfuse.losses import block_relevances
from sklearn_mmfuse.nets import FusionNet, InTenseNet

__all__ = ["InTenseClassifier", "InTenseRegressor"]

FloatArray = NDArray[np.float64]

MAX_TERMS = 512
MAX_COMPONENTS = 4096  # of one product
MAX_ALL_COMPONENTS = 2**14
MAX_BOOTSTRAP_VALUES = 2**31  # multiplications per step, for all replicates
BOOTSTRAP_STEPS = 100
CONFIDENCE = 0.95


class _BaseInTense(BaseFusionEstimator):
    _enough_rows: ClassVar[int]  # from which on interactions count as modalities do
    _most_folded: ClassVar[int] = 1999
    _told: ClassVar[tuple[str, ...]] = ("_beta", "relevance_interval_", "_fusion_chance")
    _forgotten: ClassVar[tuple[str, ...]] = (
        *BaseFusionEstimator._forgotten,
        "_fusion_chance",
        "relevance_interval_",
    )

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusionEstimator._parameter_constraints,
        "p": [real_from(1)],
        "reg_lambda": [NON_NEGATIVE],
        "interaction_weight": [NON_NEGATIVE, choice("auto")],
        "max_order": [POSITIVE_INT, None],
        "interactions": ["array-like", None],
        "tensor_dim": [POSITIVE_INT],
        "normalization": [choice("iterbn", "vbn"), None],
        "n_bootstrap": [at_least(0)],
    }

    def __init__(
        self,
        *,
        p: float,
        reg_lambda: float,
        interaction_weight: float | str,
        max_order: int | None,
        interactions: Sequence[Sequence[str]] | None,
        tensor_dim: int,
        normalization: str | None,
        n_bootstrap: int,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.p = p
        self.reg_lambda = reg_lambda
        self.interaction_weight = interaction_weight
        self.max_order = max_order
        self.interactions = interactions
        self.tensor_dim = tensor_dim
        self.normalization = normalization
        self.n_bootstrap = n_bootstrap

    # Terms and net -------------------------------------------------------------------------------

    def _make_terms(self) -> tuple[Term, ...]:
        if self.batch_size == 1 and self.normalization is not None:
            raise ValueError(
                f"batch_size=1: {type(self).__name__} normalizes by the spread within a batch, "
                "which needs at least two rows."
            )
        names = self.modality_names_
        terms = (
            self._terms_up_to(names)
            if self.interactions is None
            else self._chosen_terms(names, list(self.interactions))
        )
        self._check_budget(terms)
        return terms

    def _terms_up_to(self, names: list[str]) -> tuple[Term, ...]:
        max_order = len(names) if self.max_order is None else self.max_order
        # With one modality there is nothing to fuse, about which `fit` warns; no error on top.
        if len(names) > 1 or max_order > 2:
            check_max_order(max_order, names, advice=", or None")
        n_terms = sum(math.comb(len(names), k) for k in range(1, max_order + 1))
        if n_terms > MAX_TERMS:
            raise ValueError(
                f"{len(names)} modalities have {n_terms} terms up to order {max_order}, more than "
                f"{MAX_TERMS}; use a smaller max_order, or choose with interactions=."
            )
        return tuple(interaction_terms(names, min(max_order, len(names))))

    def _chosen_terms(self, names: list[str], interactions: list[Any]) -> tuple[Term, ...]:
        chosen = []
        for interaction in interactions:
            if isinstance(interaction, str) or not isinstance(interaction, Iterable):
                raise ValueError(
                    f"interactions must hold tuples of modalities, e.g. [('audio', 'video')]; got "
                    f"{interaction!r}."
                )
            interaction = [str(name) for name in interaction]
            if unknown := [name for name in interaction if name not in names]:
                raise ValueError(f"interactions names {unknown}, but X has the modalities {names}.")
            if len(interaction) < 2 or len(set(interaction)) < len(interaction):
                raise ValueError(
                    f"An interaction is of two or more modalities, each once; got "
                    f"{tuple(interaction)!r}. Modalities alone are always there."
                )
            chosen.append(Term(interaction))
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"interactions names a set of modalities twice: {interactions}.")
        alone = [Term((name,)) for name in names]
        # The order of their modalities is that of `X`, as everywhere.
        positions = {name: i for i, name in enumerate(names)}
        chosen.sort(key=lambda t: (t.order, sorted(positions[name] for name in t.modalities)))
        return (*alone, *chosen)

    def _check_budget(self, terms: Sequence[Term]) -> None:
        largest = max(terms, key=lambda term: term.order)
        orders = [term.order for term in terms if term.order > 1]

        def fits(dim: int) -> bool:
            sizes = [dim**order for order in orders]
            return max(sizes, default=0) <= MAX_COMPONENTS and sum(sizes) <= MAX_ALL_COMPONENTS

        if fits(self.tensor_dim):
            return
        dims = range(1, min(self.tensor_dim, MAX_COMPONENTS + 1))
        smaller = max((dim for dim in dims if fits(dim)), default=0)
        components = self.tensor_dim**largest.order
        what = (
            f"The interaction {largest} would have tensor_dim ** {largest.order} = {components:,} "
            f"components, more than {MAX_COMPONENTS:,}"
            if components > MAX_COMPONENTS
            else f"{len(orders)} interactions would have "
            f"{sum(self.tensor_dim**order for order in orders):,} components in all, more than "
            f"{MAX_ALL_COMPONENTS:,}"
        )
        advice = f"use tensor_dim <= {smaller}, " if smaller else "use "
        raise ValueError(f"{what}; {advice}a smaller max_order, or choose with interactions=.")

    def _net_config(
        self, in_features: Mapping[str, int], n_outputs: int, n_rows: int
    ) -> dict[str, Any]:
        names = sorted(in_features)  # whatever order they were named in
        terms = sorted(self.terms_, key=lambda t: (t.order, sorted(t.modalities)))
        return {
            "dtype": self.dtype,
            "in_features": {name: in_features[name] for name in names},
            "terms": terms,
            "n_outputs": n_outputs,
            "n_members": 1,
            "input_scaling": self.input_scaling,
            "hidden": self._widths,
            "activation": self.activation,
            "tensor_dim": self.tensor_dim,
            "normalization": self.normalization,
            "p": float(self.p),
            "reg_lambda": float(self.reg_lambda),
            "interaction_weight": self._interaction_weight(n_rows),
        }

    def _interaction_weight(self, n_rows: int) -> float:
        """Return what interactions count while so many rows train."""
        if self.interaction_weight == "auto":
            # What chance puts into a weight falls with the root of the rows, too.
            return max(1.0, (self._enough_rows / n_rows) ** 0.5)
        return float(self.interaction_weight)

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        return InTenseNet(**{key: value for key, value in config.items() if key != "dtype"})

    # Relevances ----------------------------------------------------------------------------------

    def _after_training(self, plan: FitPlan, *, describe: bool) -> None:
        """Fit the fusion layer to the end, read relevances off it, and see what they are worth."""
        net = plan.net
        assert isinstance(net, InTenseNet)
        fusion = fit_last_layer(net, plan.train, plan.loss, plan.rng)
        if not fusion.layer.converged:
            warn_user(
                f"The last fit of the fusion layer did not converge in {REFIT_STEPS} steps, so "
                "relevance scores are approximate; features may differ much in scale: use "
                "normalization='iterbn' or input_scaling='standard'.",
                ConvergenceWarning,
            )
        fusion.enter(net)
        plan.factor = 1.0  # which was that of layers that had not been fitted to the end
        held_out = predict_by_last_layer(plan, fusion)
        if describe:
            self._describe_fusion(plan, fusion)
            told = held_out or Predictions.of(plan.train, net, fusion.bias, plan.groups[0])
            self._fusion_chance = self._worth(plan, told)
        if held_out is not None:  # after its worth was judged by these rows
            may_shrink = plan.validation is None and plan.loss.link != "identity"  # log-odds
            fusion.enter(net, times=best_factor(plan.loss, held_out, may_shrink=may_shrink))

    def _describe_fusion(self, plan: FitPlan, fusion: LastLayer) -> None:
        """Read relevances and their intervals off a fitted layer."""
        net, rows = plan.net, fusion.rows
        assert isinstance(net, InTenseNet)
        order = [list(net.terms).index(term) for term in self.terms_]
        shares = _present_shares(net, rows)
        weight = rows.weight.unsqueeze(0)
        self._beta = self._relevances(fusion.features, fusion.layer, weight, shares)[0][order]
        if self._target_scale == 0.0:  # of a target that never varies
            self._beta = np.zeros_like(self._beta)
        interval = np.full((len(order), 2), np.nan)
        if self.n_bootstrap:
            own = None if plan.groups[0] is None else plan.groups[0][fusion.kept]
            scatter = self._bootstrap(fusion, shares, own, len(plan.train), plan.rng)
            interval = scatter[order]
        self.relevance_interval_ = pd.DataFrame(
            interval,
            columns=["low", "high"],
            index=pd.Index([str(term) for term in self.terms_], name="term"),
        )

    def _relevances(
        self,
        features: BlockFeatures,
        layer: FusionLayer,
        weight: torch.Tensor,
        shares: torch.Tensor,
    ) -> FloatArray:
        """Return the scores of each of R layers, `(R, T)`."""
        weights = layer.weights
        if weights.shape[2] > 1:  # a softmax does not see what all logits share
            weights = weights - weights.mean(dim=2, keepdim=True)
        norms = features.norms(weights)
        if self.normalization is not None:
            # A product that centering left next to nothing of is not of norm 1.
            norms = norms * features.spreads(weight) / shares.sqrt()
        beta: FloatArray = block_relevances(norms, float(self.p)).numpy()
        return beta

    def _bootstrap(
        self,
        fusion: LastLayer,
        shares: torch.Tensor,
        groups: NDArray[Any] | None,
        n_train: int,
        rng: np.random.RandomState,
    ) -> FloatArray:
        """Return intervals `(T, 2)` of relevances over rows, or persons, drawn anew."""
        features, rows, fitted = fusion.features, fusion.rows, fusion.layer
        n_rows, n_features = features.values.shape
        cost = n_features * self.n_bootstrap * fitted.weights.shape[2]
        n_left = min(n_rows, max(MAX_BOOTSTRAP_VALUES // cost, 100))
        target, weight = rows.y, rows.weight
        if n_left < n_rows:
            kept = np.sort(rng.permutation(n_rows)[:n_left])
            those = torch.from_numpy(kept)
            features, target, weight = features.take(those), target[those], weight[those]
            groups = None if groups is None else groups[kept]
        if groups is not None and len(np.unique(groups)) < 2:
            groups = None
        center = self._relevances(features, fitted, weight.unsqueeze(0), shares)
        # Fewer rows than there are scatter more than those would; persons are as many as before.
        ratio = 1.0 if groups is not None else np.sqrt(n_left / n_train)

        def relevances(drawn: FloatArray) -> FloatArray:
            weights, count = torch.from_numpy(drawn) * weight, len(drawn)
            start = FusionLayer(fitted.weights.expand(count, -1, -1), fitted.bias.expand(count, -1))
            layers = fusion.refit(
                features, target, weights, start=start, max_iter=BOOTSTRAP_STEPS, tol=1e-3
            )
            beta = self._relevances(features, layers, weights, shares)
            scattered: FloatArray = np.clip(center + (beta - center) * ratio, 0.0, 1.0)
            return scattered

        return bootstrap_interval(
            relevances,
            n_left,
            n_bootstrap=self.n_bootstrap,
            confidence=CONFIDENCE,
            groups=groups,
            random_state=rng,
        )

    def _worth(self, plan: FitPlan, told: Predictions) -> str | None:
        """Return why relevances mean nothing, or None, as these predictions tell."""
        if self._target_scale == 0.0:
            return None  # which `fit` has said
        if not self._beta.any():
            return (
                "No term contributes anything, because none varies over the training rows: all "
                "relevance scores are 0."
            )
        return why_chance(told, plan.loss, plan.train)

    def _doubts(self, plan: FitPlan) -> str | None:
        return self._fusion_chance

    def _relevance_scores(self, parts: Decomposition, weight: FloatArray) -> pd.Series:
        return pd.Series(
            self._beta,
            index=pd.Index([str(term) for term in parts.terms], name="term"),
            name="relevance",
        )


def _present_shares(net: InTenseNet, rows: Rows) -> torch.Tensor:
    """Return the share of rows that have what each term reads, `(T,)`."""
    if rows.present is None:
        return torch.ones(len(net.terms), dtype=torch.float64)
    there = net.present_terms(rows.present.to(net.reads)).double()
    shares: torch.Tensor = there @ rows.weight / rows.weight.sum()
    return shares.clamp_min(1e-12)


@documents_common
class InTenseClassifier(FusionClassifierMixin, _BaseInTense):
    """Classification with a relevance score for every modality and every interaction.

    A linear layer reads a normalized block of features of each modality, and of each interaction:
    outer products of modalities' features, centered so that they hold nothing that fewer modalities
    tell. The penalty on the norms of its blocks is that of multiple kernel learning, and the norms
    are the relevance scores. With `max_order=1` this is Multiple Neural Learning (MNL).

    Parameters
    ----------
    p : float, default=1.0
        Norm of the relevance scores, at least 1: with 1, what is not needed gets a score of exactly
        0; the larger, the more evenly scores spread.
    reg_lambda : float, default=0.005
        Weight of the penalty on the fusion layer, `(sum over terms of norm ** q) ** (2 / q)` with
        `q = 2 p / (p + 1)`. `weight_decay` is that of everything else.
    interaction_weight : float or "auto", default="auto"
        How many times an interaction counts in the penalty while encoders are trained; 1 is the
        paper's. "auto" is `400 / sqrt(n)` for n training rows, at least 1: with few rows, products
        of features fit noise before anything else does. It is in one of the penalty's two factors
        `(sum ...) ** (1 / q)`, and rises from 1, which it is in the first epoch, over an eighth of
        `max_epochs`, so that interactions without effects of their modalities alone are found. The
        last fit, which scores are read off, counts all terms once.
    max_order : int or None, default=2
        Interactions of up to so many modalities; None is all of them, and 1 is MNL, which has none.
    interactions : list of tuple of str, default=None
        Which interactions there are, instead of all up to `max_order`: `[("audio", "video")]`.
        Modalities alone are always there.
    tensor_dim : int, default=8
        How many features of a modality enter its products. An interaction of k modalities has
        `tensor_dim ** k` components, at most 4096.
    normalization : {"iterbn", "vbn", None}, default="iterbn"
        "iterbn" centers products so that they hold nothing that fewer modalities tell; "vbn" by
        their mean alone, which suffices for pairs and for independent modalities; None leaves
        features and products as they are: scores are then biased towards interactions of many
        modalities.
    n_bootstrap : int, default=100
        How many times the fusion layer is refitted to training rows (or persons) drawn anew, for
        `relevance_interval_`; 0 for none.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        The class labels.
    relevance_scores_ : Series
        Per term, from the norms of its weights (Proposition A.3); `||scores||_p` is 1, of one net
        (`n_members`: the average of several). Looking at them warns when the model is not reliably
        better than a constant on the validation rows, on those that folds left out, or without
        either (`early_stopping`) on the training rows, a much weaker check: the scores of a model
        that has learned nothing look as definite as any.
    relevance_interval_ : DataFrame
        `low` and `high` of 95 % bootstrap intervals of the scores, given the encoders.
    {attributes}

    Notes
    -----
    NOTE[DIFF] Scores follow Proposition A.3; eq. 4 prints another exponent, with which they have no
    unit norm. They are read off weights of features that the training rows normalize, all at once,
    as predictions are made, and not from running averages. Once encoders are trained, the fusion
    layer is fitted to the end on all training rows by proximal gradient steps, which give exact
    zeros: stochastic steps do not. Nothing learnable comes between centering and product (the
    authors' code has an affine batch normalization there, which puts the constant back that
    centering takes out). A product of which centering leaves less than a twentieth is not scaled
    up. All blocks start with equal norms. Decay of encoders and the penalty of the fusion layer are
    two parameters. While encoders are trained, interactions count more in the penalty
    (`interaction_weight`). Inputs are standardized once, padding left out (E.2: a batch
    normalization of padded inputs). Where there are validation rows, or folds, all contributions
    are then multiplied by the one factor that is best on these (on the rows that folds left out,
    with their nets): it takes back what the penalty shrinks, and leaves scores as they are. It is
    at least 1, but for log-odds by folds. `history_` is that of training, before the last fit.

    A term's contribution is `<w_I, f_I(x)>`. An interaction has mean zero over the training rows,
    and contains nothing of its modalities alone as far as products can tell (Theorem 2); where
    modalities depend on each other, `decompose(purify=True)` goes further.

    References
    ----------
    Varshneya, Ledent, Liznerski, Balinskyy, Mehta, Mustafa and Kloft. Interpretable Tensor Fusion.
    IJCAI 2024.

    Examples
    --------
    >>> from sklearn_mmfuse import InTenseClassifier
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> cancer = load_breast_cancer_modalities()
    >>> model = InTenseClassifier(max_epochs=20, random_state=0)
    >>> model.fit(cancer.data, cancer.target).score(cancer.data, cancer.target) > 0.95
    True
    >>> round(float(model.relevance_scores_.sum()), 6)
    1.0
    """

    _enough_rows = 160_000

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseInTense._parameter_constraints,
        "class_weight": [dict, choice("balanced"), None],
    }

    def __init__(
        self,
        *,
        p: float = 1.0,
        reg_lambda: float = 0.005,
        interaction_weight: float | str = "auto",
        max_order: int | None = 2,
        interactions: Sequence[Sequence[str]] | None = None,
        tensor_dim: int = 8,
        normalization: str | None = "iterbn",
        n_bootstrap: int = 100,
        class_weight: Any = None,
        modalities: list[str] | dict[str, Any] | None = None,
        encoder: Any = "auto",
        hidden_layer_sizes: int | tuple[int, ...] = (64,),
        activation: str = "relu",
        dropout: float = 0.1,
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
            p=p,
            reg_lambda=reg_lambda,
            interaction_weight=interaction_weight,
            max_order=max_order,
            interactions=interactions,
            tensor_dim=tensor_dim,
            normalization=normalization,
            n_bootstrap=n_bootstrap,
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


@documents_common
class InTenseRegressor(FusionRegressorMixin, _BaseInTense):
    """Regression with a relevance score for every modality and every interaction.

    The twin of :class:`InTenseClassifier`; contributions come in the units of `y`.

    Parameters
    ----------
    p : float, default=1.0
        Norm of the relevance scores, at least 1: with 1, what is not needed gets a score of exactly
        0; the larger, the more evenly scores spread.
    reg_lambda : float, default=0.02
        Weight of the penalty on the fusion layer, `(sum over terms of norm ** q) ** (2 / q)` with
        `q = 2 p / (p + 1)`. `weight_decay` is that of everything else.
    interaction_weight : float or "auto", default="auto"
        How many times an interaction counts in the penalty while encoders are trained; 1 is the
        paper's. "auto" is `200 / sqrt(n)` for n training rows, at least 1: with few rows, products
        of features fit noise before anything else does. It is in one of the penalty's two factors
        `(sum ...) ** (1 / q)`, and rises from 1, which it is in the first epoch, over an eighth of
        `max_epochs`, so that interactions without effects of their modalities alone are found. The
        last fit, which scores are read off, counts all terms once.
    max_order : int or None, default=2
        Interactions of up to so many modalities; None is all of them, and 1 is MNL, which has none.
    interactions : list of tuple of str, default=None
        Which interactions there are, instead of all up to `max_order`: `[("audio", "video")]`.
        Modalities alone are always there.
    tensor_dim : int, default=8
        How many features of a modality enter its products. An interaction of k modalities has
        `tensor_dim ** k` components, at most 4096.
    normalization : {"iterbn", "vbn", None}, default="iterbn"
        "iterbn" centers products so that they hold nothing that fewer modalities tell; "vbn" by
        their mean alone, which suffices for pairs and for independent modalities; None leaves
        features and products as they are: scores are then biased towards interactions of many
        modalities.
    n_bootstrap : int, default=100
        How many times the fusion layer is refitted to training rows (or persons) drawn anew, for
        `relevance_interval_`; 0 for none.
    loss : {"squared_error", "absolute_error"}, default="squared_error"
        Of the standardized target. The final fit of the fusion layer takes an absolute error below
        a tenth of a standard deviation for a squared one.
    {parameters}

    Attributes
    ----------
    relevance_scores_ : Series
        Per term, from the norms of its weights (Proposition A.3); `||scores||_p` is 1, of one net
        (`n_members`: the average of several). Looking at them warns when the model is not reliably
        better than a constant on the validation rows, on those that folds left out, or without
        either (`early_stopping`) on the training rows, a much weaker check: the scores of a model
        that has learned nothing look as definite as any.
    relevance_interval_ : DataFrame
        `low` and `high` of 95 % bootstrap intervals of the scores, given the encoders.
    {attributes}

    Notes
    -----
    NOTE[DIFF] Scores follow Proposition A.3; eq. 4 prints another exponent, with which they have no
    unit norm. They are read off weights of features that the training rows normalize, all at once,
    as predictions are made, and not from running averages. Once encoders are trained, the fusion
    layer is fitted to the end on all training rows by proximal gradient steps, which give exact
    zeros: stochastic steps do not. Nothing learnable comes between centering and product (the
    authors' code has an affine batch normalization there, which puts the constant back that
    centering takes out). A product of which centering leaves less than a twentieth is not scaled
    up. All blocks start with equal norms. Decay of encoders and the penalty of the fusion layer are
    two parameters. While encoders are trained, interactions count more in the penalty
    (`interaction_weight`). Inputs are standardized once, padding left out (E.2: a batch
    normalization of padded inputs). Where there are validation rows, or folds, all contributions
    are then multiplied by the one factor that is best on these (on the rows that folds left out,
    with their nets): it takes back what the penalty shrinks, and leaves scores as they are. It is
    at least 1, but for log-odds by folds. `history_` is that of training, before the last fit.

    A term's contribution is `<w_I, f_I(x)>`. An interaction has mean zero over the training rows,
    and contains nothing of its modalities alone as far as products can tell (Theorem 2); where
    modalities depend on each other, `decompose(purify=True)` goes further.

    References
    ----------
    Varshneya, Ledent, Liznerski, Balinskyy, Mehta, Mustafa and Kloft. Interpretable Tensor Fusion.
    IJCAI 2024.

    Examples
    --------
    >>> from sklearn_mmfuse import InTenseRegressor
    >>> from sklearn_mmfuse.datasets import make_bimodal
    >>> toy = make_bimodal(1000, random_state=0)
    >>> model = InTenseRegressor(max_epochs=50, random_state=0).fit(toy.data, toy.target)
    >>> model.relevance_interval_.shape
    (6, 2)
    """

    _enough_rows = 40_000

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseInTense._parameter_constraints,
        "loss": [choice("squared_error", "absolute_error")],
    }

    def __init__(
        self,
        *,
        p: float = 1.0,
        reg_lambda: float = 0.02,
        interaction_weight: float | str = "auto",
        max_order: int | None = 2,
        interactions: Sequence[Sequence[str]] | None = None,
        tensor_dim: int = 8,
        normalization: str | None = "iterbn",
        n_bootstrap: int = 100,
        loss: str = "squared_error",
        modalities: list[str] | dict[str, Any] | None = None,
        encoder: Any = "auto",
        hidden_layer_sizes: int | tuple[int, ...] = (64,),
        activation: str = "relu",
        dropout: float = 0.1,
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
            p=p,
            reg_lambda=reg_lambda,
            interaction_weight=interaction_weight,
            max_order=max_order,
            interactions=interactions,
            tensor_dim=tensor_dim,
            normalization=normalization,
            n_bootstrap=n_bootstrap,
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
        self.loss = loss
