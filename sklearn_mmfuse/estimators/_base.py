"""The plumbing of every estimator: checked data in, a trained net out.

Think twice before adding to this class: what one method needs belongs into that method's file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_sample_weight

from sklearn_mmfuse._columns import NAMELESS, shortened
from sklearn_mmfuse._data import check_rows_beside, row_labels
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
    widths_of,
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
    resolve_device,
)
from sklearn_mmfuse._validation import check_modalities
from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.estimators._encoders import adapt_to_width, resolve_encoders
from sklearn_mmfuse.estimators._ensemble import (
    ensemble,
    pooled,
    train_ensemble,
)
from sklearn_mmfuse.estimators._epochs import choose_epochs, make_folds
from sklearn_mmfuse.estimators._explained import Blocks, ExplainedPredictions
from sklearn_mmfuse.estimators._fitting import (
    FitData,
    FitPlan,
    Shared,
    explain_divergence,
    train_in_context,
)
from sklearn_mmfuse.estimators._held_out import predict_held_out, why_chance
from sklearn_mmfuse.losses import BaseLoss, Penalty
from sklearn_mmfuse.nets import EncoderSpec, FusionNet

__all__ = ["BaseFusionEstimator"]

FloatArray = NDArray[np.float64]
Statistics = Mapping[str, tuple[torch.Tensor, torch.Tensor]]

AUTO_BATCH_SIZE = 128
# Over the batches of an epoch: it decays weights as much however many they are. AdamW also
# keeps weights below 1 / decay: fewer units than AUTO_WIDTH must be able to reach as far.
AUTO_DECAY, AUTO_WIDTH = 8.0, 64
# Digits of a number that a standard deviation should have at least.
COARSE = 100.0


class BaseFusionEstimator(ExplainedPredictions, CallbackSupportMixin, BaseEstimator):
    """Base class of all estimators; a leaf adds its signature, its terms and its net."""

    modality_shapes_: dict[str, tuple[int | None, ...]]
    module_: FusionNet
    terms_: tuple[Term, ...]

    _forgotten: ClassVar[tuple[str, ...]] = ("module_", "_scores")  # when fitted anew
    _told: ClassVar[tuple[str, ...]] = ()  # by `_after_training`, of every net
    _most_folded: ClassVar[int] = 499  # rows: folds of more gain less than they cost
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
        "modalities": [None, list, tuple, dict],
        "encoder": [str, dict, callable],
        "hidden_layer_sizes": ["array-like", POSITIVE_INT],
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
        hidden_layer_sizes: int | tuple[int, ...],
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

    # What a leaf or a target mixin provides, beside `_build_net` and `_output_names` --------------

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
        self._say_what_one_draw_means()
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
            fitted=lambda: self._as_if_fitted(plan),
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
        check_rows_beside(X, y=y, sample_weight=sample_weight, groups=groups)
        self.terms_ = self._make_terms()
        self._say_what_one_modality_means()
        self._say_what_constants_mean(blocks)
        data = self._fit_data(blocks, y, sample_weight, groups, shared)
        n_steps = {n: block.shape[1] for n, block in data.blocks.items() if block.ndim == 3}
        specs = adapt_to_width(
            self._encoder_specs(n_steps),
            # Without hidden layers, perceptrons are linear, and stay so.
            embedding=self.numerical_embedding if self._widths else None,
            scaled=self.input_scaling is not None,
        )
        encoders = {name: specs[name] for name in data.names}  # in whatever order they came
        rng = generator(self.random_state)
        before = rng.get_state()
        way = data.way_to_stop(
            self.early_stopping, self.validation_fraction, most_folded=self._most_folded
        )
        plan = self._plan_until(way, X, data, encoders, device, rng)
        if way == "cv" and not plan.folds and not plan.needs_folds and data.can_spare_rows:
            rng.set_state(before)  # as if nobody had thought of folds
            plan = self._plan_until(True, X, data, encoders, device, rng)
        train = plan.numbers
        self._say_what_rounding_takes(data.input_statistics(train))
        if self.input_scaling is not None:
            self._say_what_lies_far_out(data.far_values(train))
        return plan

    def _plan_until(
        self,
        way: bool | Literal["cv"],
        X: Any,
        data: FitData,
        encoders: Mapping[str, EncoderSpec],
        device: torch.device,
        rng: np.random.RandomState,
    ) -> FitPlan:
        """Return the plan of a fit that rows to watch (True), folds ("cv") or no one ends."""
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
        self._target_mean, self._target_scale = self._target_scaling(target, weight)
        scaling = self._target_mean, self._target_scale or 1.0
        loss = self._make_loss()
        self._link = loss.link
        n_rows = int(np.count_nonzero(weight))
        in_features = {name: spec.width for name, spec in encoders.items()}
        config = self._net_config(in_features, len(self._output_names()), n_rows)
        self._config = {**config, "encoders": encoders}
        net = self._new_net()
        net.set_input_statistics(data.input_statistics(train))
        constant = loss.intercept(target, weight, net.n_outputs)
        net.training_parts()[0].bias.copy_(torch.as_tensor(constant))
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
            constant,
            needs_folds=self.early_stopping == "cv",
        )
        if way == "cv":
            # Drawn apart, for nets to be those of a training without folds that takes as long.
            splits = data.folds(**split, random_state=np.random.RandomState(plan.seed))
            plan.folds = make_folds(plan, splits, scaling)
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

    def _say_what_one_draw_means(self) -> None:
        if self.bootstrap and self.n_members == 1:
            warn_user(
                "bootstrap=True with n_members=1 is one net that never sees a third of the rows, "
                "and has no standard errors; set n_members=10, or bootstrap=False.",
            )

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

    def _say_what_rounding_takes(self, statistics: Statistics) -> None:
        digit, found = float(np.finfo(self.dtype).eps), []
        for name, (mean, std) in statistics.items():
            coarse = (std > 0) & (std < COARSE * digit * mean.abs())
            if columns := torch.nonzero(coarse).flatten().tolist():
                found.append(f"{name!r} in {shortened(columns)}")
        if found:
            better = ", or set dtype='float64'" if self.dtype == "float32" else ""
            warn_user(
                f"Some columns vary in their last digits alone, which {self.dtype} hardly keeps: "
                f"{', '.join(found)}. Subtract a constant first, for instance with a "
                f"StandardScaler{better}.",
            )

    def _say_what_lies_far_out(self, far: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        for name, found in far.items():
            columns = ", ".join(f"{value:g} in column {column}" for column, value in found[:3])
            more = f" ({len(found)} in all)" if len(found) > 3 else ""
            warn_user(
                f"Modality {name!r} has values so far from all others that standardizing leaves "
                f"next to nothing of these: {columns}{more}. If they are codes of what is missing, "
                "make them NaN and impute it; else transform the column, for instance with a "
                "logarithm.",
            )

    def _new_net(self) -> FusionNet:
        return self._build_net(self._config).to(getattr(torch, self._dtype)).eval()

    def _check_hidden_layer_sizes(self) -> None:
        widths_of(self.hidden_layer_sizes)

    @property
    def _widths(self) -> tuple[int, ...]:
        return widths_of(self.hidden_layer_sizes)

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
        width = self._widths[-1] if self._widths else 1
        return AUTO_DECAY / n_batches * min(1.0, width / AUTO_WIDTH)

    def _interaction_decay(self, n_rows: int) -> float:
        """Return how many times as much weights of interactions decay as others do."""
        return 1.0

    def _doubts(self, plan: FitPlan) -> str | None:
        """Return why explanations of a trained net mean nothing, if they do."""
        # Scores that are all zero do not look like any.
        told = predict_held_out(plan) if self._scores.any() else None
        return None if told is None else why_chance(told, plan.loss, plan.train, plan.factor)

    def _as_if_fitted(self, plan: FitPlan) -> dict[str, Any]:
        """Return the attributes of a fit that ended now."""
        mean, scale = self._prediction_scaling(plan)
        return {
            "module_": as_predictor(plan.net, plan.train),
            "_target_mean": mean,
            "_target_scale": scale,
            "_term_means": self._no_means(plan.net),
            "_moments": None,
            "_uncentered": None,
        }

    def _prediction_scaling(self, plan: FitPlan) -> tuple[float | FloatArray, float]:
        """Return the mean and the scale of raw predictions: of the target, or of log-odds."""
        if plan.factor == 1.0:
            return self._target_mean, self._target_scale
        return (1.0 - plan.factor) * plan.constant.astype(np.float64), plan.factor

    def _finish(self, plan: FitPlan, result: TrainingResult, *, describe: bool) -> None:
        """Set the fitted attributes; from here on the estimator is fitted."""
        net, data = plan.net, plan.data
        self._target_mean, self._target_scale = self._prediction_scaling(plan)
        self.history_ = plan.with_fold_history(result.history)
        self.n_iter_ = max(row["epoch"] for row in result.history)
        self.best_epoch_ = result.best_epoch
        self._term_means, self._moments = self._no_means(net), None
        self._uncentered = data
        if describe:
            parts = self._center(net)
            self._describe(net, parts, data, plan.index)
            self._chance = self._doubts(plan)
        self.module_ = net

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
