"""The plumbing of every estimator: checked data in, a trained net, a decomposition out.

Think twice before adding to this class: what one method needs belongs into that method's file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from sklearn_mmfuse._columns import NAMELESS
from sklearn_mmfuse._data import row_labels
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import Averaging, PureEffects
from sklearn_mmfuse._groups import check_groups
from sklearn_mmfuse._params import (
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    PROBABILITY,
    choice,
    has_methods,
    validates_params,
)
from sklearn_mmfuse._random import generator
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse._training import (
    SCHEDULES,
    DivergedError,
    TrainingOptions,
    TrainingResult,
    as_predictor,
    batch_bounds,
    load_members,
    predict_network,
    resolve_device,
)
from sklearn_mmfuse._validation import check_modalities
from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.estimators._encoders import adapt_to_width, resolve_encoders
from sklearn_mmfuse.estimators._ensemble import (
    ensemble,
    mean_decomposition,
    mean_effects,
    member_nets,
    pooled,
    train_ensemble,
)
from sklearn_mmfuse.estimators._epochs import choose_epochs, make_folds
from sklearn_mmfuse.estimators._fitting import (
    FitData,
    FitPlan,
    Shared,
    as_tensors,
    explain_divergence,
    present_rows,
    train_in_context,
)
from sklearn_mmfuse.estimators._missing import contribution_moments, keep_available, recover
from sklearn_mmfuse.estimators._purify import purified, term_effects
from sklearn_mmfuse.losses import BaseLoss, Penalty
from sklearn_mmfuse.nets import EncoderSpec, FusionNet

__all__ = ["BaseFusionEstimator", "Blocks", "contributions_of"]

FloatArray = NDArray[np.float64]
Blocks = dict[str, NDArray[np.floating[Any]]]

AUTO_BATCH_SIZE = 128
# Over the batches of an epoch: it decays weights as much however many they are. AdamW also
# keeps weights below 1 / decay: fewer units than AUTO_WIDTH must be able to reach as far.
AUTO_DECAY, AUTO_WIDTH = 8.0, 64


class BaseFusionEstimator(CallbackSupportMixin, BaseEstimator):
    """Base class of all estimators; a leaf adds its signature, its terms and its net."""

    modality_shapes_: dict[str, tuple[int | None, ...]]
    module_: FusionNet
    terms_: tuple[Term, ...]

    _forgotten: ClassVar[tuple[str, ...]] = ("module_",)  # when fitted anew
    _told: ClassVar[tuple[str, ...]] = ()  # by `_after_training`, of every net
    # Parameters that never change what the net is made of: such fits may be members of one.
    _member_params: ClassVar[frozenset[str]] = frozenset(
        {
            "class_weight",
            "critic_learning_rate",
            "dropout",
            "early_stopping",
            "interaction_weight",
            "learning_rate",
            "max_epochs",
            "max_grad_norm",
            "modality_dropout",
            "n_bootstrap",
            "n_iter_no_change",
            "p",
            "random_state",
            "reg_lambda",
            "validation_fraction",
            "weight_decay",
        }
    )

    # Whether a term of a constant and another modality takes what is of the other one.
    _reads_constants: ClassVar[bool] = False

    # With metadata routing on, `groups` reach `fit` without being asked for.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "modalities": [None, list, dict],
        "encoder": [str, dict, callable],
        "hidden_layer_sizes": ["array-like"],
        "activation": [choice("relu", "gelu", "silu", "tanh")],
        "dropout": [PROBABILITY],
        "input_scaling": [choice("standard", "clip"), None],
        "numerical_embedding": [choice("plr"), None],
        "learning_rate": [POSITIVE],
        "learning_rate_schedule": [choice(*SCHEDULES)],
        "weight_decay": [NON_NEGATIVE, choice("auto")],
        "batch_size": [POSITIVE_INT, choice("auto")],
        "max_epochs": [POSITIVE_INT],
        "early_stopping": ["boolean", choice("auto", "cv")],
        "validation_fraction": [FRACTION, has_methods("split"), list, tuple],
        "n_iter_no_change": [POSITIVE_INT],
        "max_grad_norm": [POSITIVE, None],
        "missing": [choice("recover", "drop", "error")],
        "modality_dropout": [PROBABILITY],
        "n_members": [POSITIVE_INT],
        "bootstrap": ["boolean"],
        "dtype": [choice("float32", "float64")],
        "device": [str],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        modalities: list[str] | dict[str, Any] | None,
        encoder: Any,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        dropout: float,
        input_scaling: str | None,
        numerical_embedding: str | None,
        learning_rate: float,
        learning_rate_schedule: str,
        weight_decay: float | str,
        batch_size: int | str,
        max_epochs: int,
        early_stopping: bool | str,
        validation_fraction: Any,
        n_iter_no_change: int,
        max_grad_norm: float | None,
        missing: str,
        modality_dropout: float,
        n_members: int,
        bootstrap: bool,
        dtype: str,
        device: str,
        net_params: dict[str, Any] | None,
        random_state: Any,
        verbose: int,
    ) -> None:
        self.modalities = modalities
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.input_scaling = input_scaling
        self.numerical_embedding = numerical_embedding
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.max_grad_norm = max_grad_norm
        self.missing = missing
        self.modality_dropout = modality_dropout
        self.n_members = n_members
        self.bootstrap = bootstrap
        self.dtype = dtype
        self.device = device
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose

    # What a leaf or a target mixin provides ------------------------------------------------------

    def _make_terms(self) -> tuple[Term, ...]:
        """Return the terms, enumerated in the order of `modality_names_in_`."""
        raise NotImplementedError

    def _net_config(
        self, in_features: Mapping[str, int], n_outputs: int, n_rows: int
    ) -> dict[str, Any]:
        """Return what `_build_net` needs; kept, so that a pickle can rebuild the net.

        `n_rows` are trained on.
        """
        raise NotImplementedError

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        """Return an untrained net."""
        raise NotImplementedError

    def _encoder_specs(self, n_steps: Mapping[str, int]) -> dict[str, EncoderSpec]:
        """Return what reads each modality."""
        return resolve_encoders(self.encoder, self.modality_shapes_, n_steps)

    def _encode_target(self, y: Any) -> FloatArray:
        """Check `y` and return it as numbers."""
        raise NotImplementedError

    def _weigh_target(self, target: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the sample weights with what the target adds to them."""
        return weight

    def _target_scaling(self, target: FloatArray, weight: FloatArray) -> tuple[float, float]:
        """Return the mean and the scale by which the target is standardized."""
        return 0.0, 1.0

    def _make_loss(self) -> BaseLoss:
        """Return the per-sample loss."""
        raise NotImplementedError

    def _output_names(self) -> list[Any]:
        """Return a name per raw output."""
        raise NotImplementedError

    def _penalties(self) -> list[Penalty]:
        """Return what a method adds to the loss."""
        return []

    def _penalty_batch_size(self, n_rows: int) -> int:
        """Return the rows that penalties are computed on, when more than those of a batch."""
        return 0

    def _after_training(self, plan: FitPlan, *, describe: bool) -> None:
        """Do what a method does with a trained net before it is described, if it is."""

    # Fitting -------------------------------------------------------------------------------------

    @validates_params
    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            The modalities of n samples; see the README, "What X may be".
        y : array-like of shape (n,)
            The target. Routing also takes labels, (n, n_labels) of zeros and ones: an array, a data
            frame (whose columns name the labels) or a sparse matrix.
        sample_weight : array-like of shape (n,), optional
            Non-negative weights of the loss.
        groups : array-like of shape (n,), optional
            The person each sample belongs to: early stopping then watches other persons than those
            trained on, and intervals are about persons (InTense, Routing).

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When an input is not as described; the message says what to do.
        FloatingPointError
            When the loss stops being a finite number.
        """
        plan = self._plan(X, y, sample_weight, groups, Shared())
        (error,) = choose_epochs(self._build_net, [plan])
        if error is not None:
            raise explain_divergence(error, self)
        members = ensemble(plan, self.n_members, bootstrap=self.bootstrap)
        result = train_in_context(
            self,
            (X, y),
            lambda hooks: train_ensemble(self._build_net, members, hooks),
            n_epochs=plan.n_epochs * len(members),
            fitted=lambda: self._as_if_fitted(as_predictor(plan.net, plan.train)),
        )
        self._complete_members(members, result)
        return self

    def _plan(self, X: Any, y: Any, sample_weight: Any, groups: Any, shared: Shared) -> FitPlan:
        """Check everything, split, standardize and build: all that comes before training.

        `shared` holds what other fits to this very X have already worked out.
        """
        for name in self._forgotten:  # a failed refit must not look fitted
            if hasattr(self, name):
                delattr(self, name)
        device = resolve_device(self.device)
        self._check_hidden_layer_sizes()
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        blocks = self._check_modalities(X, shared)
        self.terms_ = self._make_terms()
        self._say_what_one_modality_means()
        self._say_what_constants_mean(blocks)
        data = self._fit_data(blocks, y, sample_weight, groups, shared)
        n_steps = {n: block.shape[1] for n, block in data.blocks.items() if block.ndim == 3}
        specs = adapt_to_width(
            self._encoder_specs(n_steps),
            # Without hidden layers, perceptrons are linear, and stay so.
            embedding=self.numerical_embedding if len(self.hidden_layer_sizes) else None,
            scaled=self.input_scaling is not None,
        )
        encoders = {name: specs[name] for name in data.names}  # in whatever order they came
        in_features = {name: spec.width for name, spec in encoders.items()}
        rng = generator(self.random_state)
        way = data.way_to_stop(self.early_stopping, self.validation_fraction)
        split = {
            "fraction": self.validation_fraction,
            "X": X,
            "classification": is_classifier(self),
        }
        train, validation = np.flatnonzero(data.weight), None
        if way is True:
            train, validation = data.split(**split, random_state=rng)
        data.check_present(train)
        target, weight = data.target[train], data.weight[train]
        scaling = self._target_mean, self._target_scale = self._target_scaling(target, weight)
        loss = self._make_loss()
        self._link = loss.link
        n_rows = int(np.count_nonzero(weight))
        config = self._net_config(in_features, len(self._output_names()), n_rows)
        self._config = {**config, "encoders": encoders}
        net = self._new_net()
        net.set_input_statistics(data.input_statistics(train))
        constant = torch.as_tensor(loss.intercept(target, weight, net.n_outputs))
        net.training_parts()[0].bias.copy_(constant)
        plan = FitPlan(
            data,
            net,
            self._config,
            loss,
            self._penalties(),
            data.rows(train, *scaling),
            None if validation is None else data.rows(validation, *scaling),
            (data.groups_of(train), data.groups_of(validation)),
            self._training_options(len(train), device),
            int(rng.randint(2**31 - 1)),
            rng,
            row_labels(X),
        )
        if way == "cv":
            # Drawn apart, for nets to be those of a training without folds that takes as long.
            splits = data.folds(**split, random_state=np.random.RandomState(plan.seed))
            plan.folds = make_folds(plan, splits, scaling, asked_for=self.early_stopping == "cv")
        return plan

    def _check_modalities(self, X: Any, shared: Shared) -> Blocks:
        """Check X, and learn the names and shapes of its modalities."""
        missing = self._what_nan_means()

        def check() -> tuple[Blocks, dict[str, Any]]:
            before = set(vars(self))
            blocks = check_modalities(
                self, X, reset=True, dtype=np.dtype(self.dtype), missing=missing
            )
            return blocks, {key: vars(self)[key] for key in set(vars(self)) - before}

        if hasattr(self, "modality_shapes_"):
            return check()[0]  # fitted before: nothing would be new
        key = ("blocks", type(self), repr(self.modalities), self.dtype, missing)
        blocks, learned = shared.once(key, check)
        for name, value in learned.items():
            setattr(self, name, value)
        return blocks

    def _conclude(
        self, plan: FitPlan, outcome: TrainingResult | DivergedError, *, describe: bool
    ) -> None:
        """Be fitted after training beside others, or say how that failed."""
        if isinstance(outcome, DivergedError):
            raise explain_divergence(outcome, self)
        self._complete(plan, outcome, describe=describe)

    def _complete_members(self, plans: Sequence[FitPlan], result: TrainingResult) -> None:
        """Make a fitted estimator of trained nets, of which there may be one."""
        if len(plans) == 1:
            self._complete(plans[0], result)
            return
        told = []
        for plan in plans:
            self._after_training(plan, describe=True)
            told.append([getattr(self, name) for name in self._told])
        for name, values in zip(self._told, zip(*told, strict=True), strict=True):
            setattr(self, name, pooled(values))
        self._config = {**self._config, "n_members": len(plans)}
        net = self._new_net()
        load_members(net, [plan.net for plan in plans])
        self._finish(replace(plans[0], net=net), result, describe=True)

    def _complete(self, plan: FitPlan, result: TrainingResult, *, describe: bool = True) -> None:
        """Make a fitted estimator of a trained net; `describe` it, or only let it predict."""
        self._after_training(plan, describe=describe)
        self._finish(plan, result, describe=describe)

    def _fit_data(
        self, blocks: Blocks, y: Any, sample_weight: Any, groups: Any, shared: Shared
    ) -> FitData:
        """Check everything that comes beside X."""
        n_samples = len(next(iter(blocks.values())))
        target = self._encode_target(y)
        if len(target) != n_samples:
            raise ValueError(
                f"X has {n_samples} samples, but y has {len(target)}: found inconsistent numbers "
                "of samples. Each row of X needs its target."
            )
        weight = _check_sample_weight(
            sample_weight, target, dtype=np.float64, ensure_non_negative=True
        )
        weight = self._weigh_target(target, weight)
        return FitData(blocks, target, weight, check_groups(groups, n_samples), shared)

    def _say_what_one_modality_means(self) -> None:
        # An explicit `modalities=["text"]` is an ablation, and the validation has already warned
        # about data without names.
        if len(self.modality_names_in_) == 1 and self.modalities is None:
            name = self.modality_names_in_[0]
            if name != NAMELESS:
                warn_user(
                    f"X has one modality, {name!r}: there is nothing to fuse, and every "
                    f"contribution will be that of {name!r}.",
                )

    def _say_what_constants_mean(self, blocks: Blocks) -> None:
        if not self._reads_constants:
            return
        constant = [name for name, block in blocks.items() if (block == block[0]).all()]
        about = [{*term.modalities, *term.partner} for term in self.terms_]
        if any(len(names) > 1 and names & set(constant) for names in about):
            warn_user(
                f"The modalities {constant} are constant: they tell nothing, and what terms of "
                "them and others hold, shared or as interactions, is of the others; leave them "
                "out.",
            )

    def _new_net(self) -> FusionNet:
        return self._build_net(self._config).to(getattr(torch, self._dtype)).eval()

    @property
    def _dtype(self) -> str:
        return str(self._config["dtype"])

    def _check_hidden_layer_sizes(self) -> None:
        widths = list(self.hidden_layer_sizes)
        if not all(isinstance(w, Integral) and w > 0 for w in widths):
            raise ValueError(
                f"hidden_layer_sizes must hold positive integers, e.g. (64,); got {tuple(widths)}."
            )

    def _training_options(self, n_rows: int, device: torch.device) -> TrainingOptions:
        size = AUTO_BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        size = min(int(size), n_rows)
        decay = self.weight_decay
        if decay == "auto":
            decay = self._auto_weight_decay(len(batch_bounds(n_rows, size)))
        return TrainingOptions(
            max_epochs=self.max_epochs,
            batch_size=size,
            learning_rate=self.learning_rate,
            weight_decay=float(decay),
            learning_rate_schedule=self.learning_rate_schedule,
            dropout=self.dropout,
            n_iter_no_change=self.n_iter_no_change,
            max_grad_norm=self.max_grad_norm,
            device=device,
            modality_dropout=self.modality_dropout,
            interaction_decay=self._interaction_decay(n_rows)
            if self.weight_decay == "auto"
            else 1.0,
            penalty_batch_size=self._penalty_batch_size(n_rows),
            verbose=int(self.verbose),
            net_params=self.net_params,
        )

    def _auto_weight_decay(self, n_batches: int) -> float:
        """Return the weight decay for epochs of so many batches."""
        width = self.hidden_layer_sizes[-1] if len(self.hidden_layer_sizes) else 1
        return AUTO_DECAY / n_batches * min(1.0, width / AUTO_WIDTH)

    def _interaction_decay(self, n_rows: int) -> float:
        """Return how many times as much weights of interactions decay as others do."""
        return 1.0

    def _as_if_fitted(self, net: FusionNet) -> dict[str, Any]:
        shape = (len(self.terms_), net.n_outputs)
        return {"module_": net, "_term_means": np.zeros((1, *shape)), "_moments": None}

    def _finish(self, plan: FitPlan, result: TrainingResult, *, describe: bool) -> None:
        """Set the fitted attributes; from here on the estimator is fitted."""
        net, data = plan.net, plan.data
        self._target_scale *= plan.factor
        self.history_ = plan.with_fold_losses(result.history)
        self.n_iter_ = max(row["epoch"] for row in result.history)
        self.best_epoch_ = result.best_epoch
        values, bias, absent = self._net_terms(net, data.blocks)
        there = np.ones(values.shape[1:3]) if absent is None else 1.0 - absent
        total = data.weight @ there
        weighted = np.einsum("n,nt,entc->etc", data.weight, there, values)
        self._term_means = weighted / np.where(total > 0, total, 1.0)[:, np.newaxis]
        self._moments = None
        parts = self._as_parts(values, bias, absent)
        self._moments = contribution_moments(parts.values, data.weight, parts.absent)
        if describe:
            self._describe(net, parts, data, plan.index)
        self.module_ = net

    def _describe(
        self, net: FusionNet, parts: Decomposition, data: FitData, index: pd.Index | None
    ) -> None:
        """Set what is told about the training rows, of which `parts` are the contributions."""
        self.relevance_scores_ = self._relevance_scores(parts, data.weight)
        alone = [t for t in parts.terms if t.order == 1 and t.kind != "redundant"]
        self.unique_contributions_ = contributions_of(parts, alone, index)

    def _relevance_scores(self, parts: Decomposition, weight: FloatArray) -> pd.Series:
        """Return the mean absolute centered contribution of each term, adding up to 1."""
        size = np.average(np.abs(parts.values).mean(axis=2), axis=0, weights=weight)
        # Where nothing varies, rounding does; its parts of the whole would mean nothing.
        rounding = 1e-12 * np.abs(self._term_means).mean(axis=(0, 2)).sum()
        total = size.sum()
        return pd.Series(
            size / total if total > rounding else np.zeros_like(size),
            index=pd.Index([str(term) for term in parts.terms], name="term"),
            name="relevance",
        )

    # Predicting ----------------------------------------------------------------------------------

    def decompose(
        self,
        X: Any,
        *,
        purify: bool = False,
        background: Any = None,
        max_evaluations: int = 20_000_000,
        n_draws: int = 500,
        random_state: int | np.random.RandomState | None = 0,
        available: Sequence[str] | None = None,
    ) -> Decomposition:
        """Split predictions into one contribution per term.

        The contributions and the bias add up to the raw prediction exactly. Contributions are
        centered over the rows of `fit`, weighted as they were there (a term's mean is part of the
        bias), and, with several classes, over the classes: a softmax does not see what all logits
        share.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples in any form that names the modalities seen in `fit`.
        purify : bool, default=False
            Move what a term owes to fewer modalities to the terms of those: each term is then its
            pure effect, with mean zero over each of its modalities, and the sum does not change.
            Needs rows, and a background, that lack no modality.
        background : like X, optional
            The rows over which modalities are averaged, each on its own, to tell what is pure. By
            default `X` itself, so that a row's terms depend on the rows beside it; pass the
            training rows to keep them from it.
        max_evaluations : int, default=20_000_000
            Averages over all combinations of background rows are exact up to this cost; the terms
            that exceed it are estimated from draws, with `standard_errors`. Products of embeddings
            (`fusion="tensor"`) are always exact. With sequences that attend to each other ("mult")
            every combination is a pass through the net, some milliseconds: explain few rows, on a
            small background or with fewer `n_draws`.
        n_draws : int, default=500
            Combinations to draw for such a term.
        random_state : int, RandomState or None, default=0
            Seeds these draws.
        available : list of str, optional
            Take all other modalities for absent, whether or not `X` has them.

        Returns
        -------
        parts : Decomposition
            Contributions of shape (n_samples, n_terms, n_outputs): in the units of `y` in
            regression, in log-odds of `classes_[1]` in binary and in logits in multiclass
            classification, in log-odds of every label where there are several.
        """
        check_is_fitted(self)
        blocks = self._check_again(X, available)
        parts = self._decompose_blocks(self.module_, blocks)
        if purify and parts.absent is not None:
            raise ValueError(
                "Pure effects need every modality of every row: an absent one has no effects. "
                "Leave such rows out; they can still be predicted."
            )
        if not purify:
            if background is not None:
                raise ValueError("background= says what to purify over; set purify=True.")
            return parts
        how = Averaging(max_evaluations, n_draws, random_state)
        behind = self._check_background(background)
        return mean_decomposition(
            [
                purified(
                    self._decompose_blocks(net, blocks),
                    self._centered(term_effects(net, blocks, behind, how, rescale=self._rescale)),
                    self.modality_names_,
                )
                for net in self._nets(self.module_)
            ]
        )

    def _nets(self, net: FusionNet) -> list[FusionNet]:
        """Return the nets that stand side by side in one, each as it is alone."""
        return member_nets(net, lambda: self._build_net({**self._config, "n_members": 1}))

    def _term_effects(self, X: Any, background: Any, how: Averaging) -> dict[Term, PureEffects]:
        """Return the pure effects of each term as `decompose` scales and centers it."""
        blocks = self._check_again(X, missing="error")
        behind = self._check_background(background)
        return self._centered(self._net_effects(self.module_, blocks, behind, how))

    def _check_background(self, background: Any) -> Blocks | None:
        """Return the rows over which modalities are averaged, which lack none."""
        behind = None if background is None else self._check_again(background)
        if behind is not None and (there := present_rows(behind)) is not None:
            gaps = {name: int((~rows).sum()) for name, rows in there.items() if not rows.all()}
            lacking = " and ".join(f"{name!r} in {count}" for name, count in gaps.items())
            raise ValueError(
                f"The background lacks {lacking} of {len(next(iter(there.values())))} rows, but "
                "modalities are drawn from it one by one: leave such rows out."
            )
        return behind

    def _net_effects(
        self, net: FusionNet, blocks: Blocks, background: Blocks | None, how: Averaging
    ) -> dict[Term, PureEffects]:
        """Return the pure effects of each term of a net; of several, their mean."""
        return mean_effects(
            [
                term_effects(own, blocks, background, how, rescale=self._rescale)
                for own in self._nets(net)
            ]
        )

    def _centered(self, effects: Mapping[Term, PureEffects]) -> dict[Term, PureEffects]:
        """Return the effects with constants relative to the bias of `decompose`."""
        return {
            term: replace(effects[term], constant=effects[term].constant - mean)
            for term, mean in zip(self.terms_, self._term_means.mean(axis=0), strict=True)
        }

    def _what_nan_means(self) -> Literal["error", "mask"]:
        return "error" if self.missing == "error" else "mask"

    def _check_again(
        self,
        X: Any,
        available: Sequence[str] | None = None,
        *,
        missing: Literal["error", "mask"] | None = None,
    ) -> Blocks:
        blocks = check_modalities(
            self,
            X,
            reset=False,
            dtype=np.dtype(self._dtype),
            missing=missing or self._what_nan_means(),
        )
        if available is not None and self.missing == "error":
            raise ValueError("available= leaves modalities out, which missing='error' forbids.")
        return keep_available(blocks, available)

    def _rescale(self, values: FloatArray) -> FloatArray:
        """Bring addends (..., C) from the scale of the net to that of the raw prediction."""
        if self._link == "softmax":  # which does not see what all logits share
            values = values - values.mean(axis=-1, keepdims=True)
        return values * self._target_scale

    def _decompose_blocks(self, net: FusionNet, blocks: Blocks) -> Decomposition:
        values, bias, absent = self._net_terms(net, blocks)
        if absent is not None:
            self._say_if_nothing_is_left(absent)
        return self._as_parts(values, bias, absent)

    def _net_terms(
        self, net: FusionNet, blocks: Blocks
    ) -> tuple[FloatArray, FloatArray, NDArray[np.bool_] | None]:
        """Return the terms of every net `(E, n, T, C)`, the bias, and which terms are absent."""
        X, present = as_tensors(blocks, net.in_features)
        values, bias = predict_network(net, X, present)
        position = {term: i for i, term in enumerate(net.terms)}
        order = [position[term] for term in self.terms_]
        absent = None
        if present is not None:
            absent = net.present_terms(present.to(net.reads)).cpu().numpy()[order].T == 0
        return self._rescale(values[:, :, order]), self._rescale(bias.mean(axis=0)), absent

    def _as_parts(
        self, values: FloatArray, bias: FloatArray, absent: NDArray[np.bool_] | None
    ) -> Decomposition:
        """Return centered terms, averaged over nets, with the standard errors of the average."""
        means = self._term_means
        # What one net has in a term's mean and another in its bias is no uncertainty.
        own = means if len(means) == len(values) else means.mean(axis=0, keepdims=True)
        values = values - own[:, np.newaxis]
        if absent is not None:
            values[:, absent] = 0.0  # what a term contributes on average
            if self.missing == "recover" and self._moments is not None:
                values = np.stack([recover(each, absent, self._moments) for each in values])
        errors = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
        return Decomposition(
            values.mean(axis=0),
            bias + self._target_mean + means.mean(axis=0).sum(axis=0),
            self.terms_,
            self._link,
            self._output_names(),
            errors,
            absent=absent,
        )

    def _say_if_nothing_is_left(self, absent: NDArray[np.bool_]) -> None:
        if empty := int(absent.all(axis=1).sum()):
            warn_user(
                f"{empty} of {len(absent)} rows have no modality that a term could read: the bias "
                "is predicted for them.",
            )

    @property
    def modality_names_(self) -> list[str]:
        """The modalities seen in `fit`, in their order there."""
        if not hasattr(self, "modality_names_in_"):
            raise AttributeError(f"This {type(self).__name__} has not seen any modalities yet.")
        return [str(name) for name in self.modality_names_in_]

    # Persistence and scikit-learn's protocols ----------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.non_deterministic = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # Numpy arrays alone: small, and readable without torch's or skorch's classes.
        state = dict(super().__getstate__())
        if "module_" in state:
            weights = state.pop("module_").state_dict()
            state["_weights"] = {key: value.numpy() for key, value in weights.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            net = self._new_net()
            net.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
            self.module_ = net


def contributions_of(
    parts: Decomposition, terms: Sequence[Term], index: pd.Index | None
) -> pd.DataFrame:
    """Return the contributions of some terms, a row per sample; unique ones by modality."""
    frame = parts.select(terms).to_frame(index)
    named = {str(t): str(Term(t.modalities)) for t in terms if t.kind == "unique"}
    if isinstance(frame.columns, pd.MultiIndex):
        return frame.drop(columns="bias", level="term").rename(columns=named, level="term")
    return frame.drop(columns="bias").rename(columns=named)
