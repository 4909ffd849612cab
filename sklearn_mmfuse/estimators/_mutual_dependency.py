"""Mutual-dependency maximization: fusions that keep what modalities have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._params import (
    NON_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    PROBABILITY,
    choice,
    widths_of,
)
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse._training import (
    CriticOptions,
    TrainingOptions,
    score_network,
)
from sklearn_mmfuse.estimators._docs import documents_common
from sklearn_mmfuse.estimators._fitting import FitPlan, as_tensors
from sklearn_mmfuse.estimators._fusion import BaseFusion
from sklearn_mmfuse.estimators._targets import FusionClassifierMixin, FusionRegressorMixin
from sklearn_mmfuse.losses import DEPENDENCIES
from sklearn_mmfuse.nets import CRITIC_OUTPUTS, DependencyNet, FusionNet, complete_rows

__all__ = ["MutualDependencyClassifier", "MutualDependencyRegressor"]

FloatArray = NDArray[np.float64]


class _BaseMutualDependency(BaseFusion):
    dependency_: float
    _told: ClassVar[tuple[str, ...]] = ("dependency_",)

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusion._parameter_constraints,
        "dependency": [choice(*DEPENDENCIES)],
        "reg_lambda": [NON_NEGATIVE],
        "n_critic_steps": [POSITIVE_INT],
        "critic_hidden_layer_sizes": ["array-like", POSITIVE_INT],
        "critic_learning_rate": [POSITIVE],
        "critic_dropout": [PROBABILITY],
        "critic_output": [choice(*CRITIC_OUTPUTS)],
    }

    def __init__(
        self,
        *,
        dependency: str,
        reg_lambda: float,
        n_critic_steps: int,
        critic_hidden_layer_sizes: int | tuple[int, ...],
        critic_learning_rate: float,
        critic_dropout: float,
        critic_output: str,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.dependency = dependency
        self.reg_lambda = reg_lambda
        self.n_critic_steps = n_critic_steps
        self.critic_hidden_layer_sizes = critic_hidden_layer_sizes
        self.critic_learning_rate = critic_learning_rate
        self.critic_dropout = critic_dropout
        self.critic_output = critic_output

    def _make_terms(self) -> tuple[Term, ...]:
        names = self.modality_names_
        if len(names) < 2:
            raise ValueError(
                f"A dependency is between modalities, and X has only {names[0]!r}; "
                f"{type(self).__name__} needs at least two."
            )
        return super()._make_terms()

    def _check_hidden_layer_sizes(self) -> None:
        super()._check_hidden_layer_sizes()
        widths_of(self.critic_hidden_layer_sizes, "critic_hidden_layer_sizes")

    def _net_config(
        self, in_features: Mapping[str, int], n_outputs: int, n_rows: int
    ) -> dict[str, Any]:
        return {
            **super()._net_config(in_features, n_outputs, n_rows),
            "critic_hidden": widths_of(self.critic_hidden_layer_sizes),
            "critic_output": self.critic_output,
            "lipschitz": self.dependency == "wasserstein",
        }

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        return DependencyNet(**{key: value for key, value in config.items() if key != "dtype"})

    def _training_options(self, n_rows: int, device: torch.device) -> TrainingOptions:
        critic = CriticOptions(
            self.dependency,
            float(self.reg_lambda),
            int(self.n_critic_steps),
            float(self.critic_learning_rate),
            float(self.critic_dropout),
        )
        return replace(super()._training_options(n_rows, device), critic=critic)

    def _after_training(self, plan: FitPlan, *, describe: bool) -> None:
        net, train = plan.net, plan.train
        assert isinstance(net, DependencyNet)
        X, weight = complete_rows(train.inputs_in_place, train.weight, train.present)
        self.dependency_ = np.nan
        if len(weight) > 1:
            scores = score_network(net, X, None)
            self.dependency_ = float(np.average(scores, weights=weight.numpy()))

    def dependency_scores(self, X: Any) -> FloatArray:
        """Return how well the modalities of each sample go together, T of the critic.

        Their mean over the rows that were trained on is `dependency_`. With "kl" and "f" a score
        estimates the logarithm of how much more often such a row occurs than if modalities were
        independent; modalities of low scores contradict each other, says the paper (section 5.4).

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.

        Returns
        -------
        scores : ndarray of shape (n,)
            High where modalities agree with what the training rows taught, NaN where one is absent.
        """
        check_is_fitted(self)
        net = self.module_
        assert isinstance(net, DependencyNet)
        tensors, present = as_tensors(self._check_again(X), net.in_features)
        scores = score_network(net, tensors, present)
        if present is not None:
            scores[~present.numpy().all(axis=1)] = np.nan
        return scores


@documents_common
class MutualDependencyClassifier(FusionClassifierMixin, _BaseMutualDependency):
    """Classification by a fusion that keeps what modalities have in common.

    Beside its loss, the net maximizes how much the modalities depend on each other in its fused
    representation: a critic T learns to tell representations of rows as they are from those of rows
    whose modalities were shuffled, and the net makes that easy for it.

    Parameters
    ----------
    dependency : {"wasserstein", "kl", "f"}, default="wasserstein"
        What measures the dependency: the Wasserstein distance between joint and shuffled
        representations (eq. 8), their Kullback-Leibler divergence by the bound of Donsker and
        Varadhan (eq. 6), or by that of Nguyen, Wainwright and Jordan (eq. 7).
    reg_lambda : float, default=0.1
        The weight of the dependency in the objective, loss - reg_lambda * dependency (eq. 5), whose
        gradient is never longer than that of the loss. 0 is the plain fusion, bit for bit; the
        critic is trained beside it all the same.
    n_critic_steps : int, default=10
        Steps of the critic before each step of the net (the paper's Unroll).
    critic_hidden_layer_sizes : int or tuple of int, default=(64, 64)
        Hidden layers of the critic.
    critic_learning_rate : float, default=1e-3
        Step size of the critic's AdamW.
    critic_dropout : float, default=0.4
        The probability with which a hidden unit of the critic is dropped in its own steps.
    critic_output : {"linear", "sigmoid"}, default="linear"
        "sigmoid" reproduces the paper's Table 4: it keeps T in (0, 1), and so every bound at 1.
    {fusions}
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        The class labels.
    dependency_ : float
        The bound on the training rows: in nats with "kl" and "f", in standard
        deviations per unit of the representation with "wasserstein". More than there is on rows
        that the net has not seen, the more so the fewer rows: see the notes. NaN without two rows.
    {described}
    {attributes}

    Notes
    -----
    `history_` has the bound of every epoch, "dependency" on the critic's batches and, with early
    stopping, "valid_dependency" on the validation rows, or on those that folds left out. Believe
    the latter: on few training rows, net and critic together find dependency where there is none.
    Choose `reg_lambda` by cross-validation. Of what modalities depend on each other before they are
    fused, :func:`~sklearn_mmfuse.inspection.total_correlation` tells on held-out rows.

    NOTE[DIFF] Equations 7 and 8 are printed with `e^(T^-1)` and with a logarithm of `E_q[T]`, which
    makes them unbounded; the bounds they cite are meant. T is not squashed, but kept between -6 and
    8 ("kl", "f") or 1-Lipschitz by its weights' norms ("wasserstein"), where the paper's Table 4
    has a sigmoid and no constraint. The gradient of "kl" divides by a moving average, and that of
    any penalty is shortened to the length of the loss's (both as in MINE): on few rows of
    independent modalities it would otherwise drown the loss. After training, T is shifted so that
    the bounds are tight on the training rows; there "f" is "kl". The critic reads units
    standardized and has an optimizer of its own, two layers instead of five, and GELU (with
    "wasserstein" MaxMin, which keeps distances) instead of leaky ReLU; no shuffled row has two
    modalities of one row. Rows that lack a modality do not take part.

    With fusions step by step, lengths that the modalities of a row share are dependency as well:
    shuffled rows are made of sequences of different lengths.

    References
    ----------
    Colombo, Chapuis, Labeau and Clavel. Improving Multimodal Fusion via Mutual Dependency
    Maximisation. EMNLP 2021.

    Belghazi et al. Mutual Information Neural Estimation. ICML 2018.

    Examples
    --------
    >>> from sklearn_mmfuse import MutualDependencyClassifier
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> cancer = load_breast_cancer_modalities()
    >>> model = MutualDependencyClassifier(max_epochs=20, n_critic_steps=2, random_state=0)
    >>> model.fit(cancer.data, cancer.target).score(cancer.data, cancer.target) > 0.95
    True
    >>> scores = model.dependency_scores(cancer.data)
    >>> scores.shape, model.dependency_ > 0
    ((569,), True)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseMutualDependency._parameter_constraints,
        "class_weight": [dict, choice("balanced"), None],
    }

    def __init__(
        self,
        *,
        fusion: str = "late",
        dependency: str = "wasserstein",
        reg_lambda: float = 0.1,
        n_critic_steps: int = 10,
        critic_hidden_layer_sizes: int | tuple[int, ...] = (64, 64),
        critic_learning_rate: float = 1e-3,
        critic_dropout: float = 0.4,
        critic_output: str = "linear",
        tensor_dim: int = 8,
        rank: int = 4,
        state_dim: int = 64,
        language: str = "text",
        shift: float = 1.0,
        pretrained: str | None = None,
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
            fusion=fusion,
            dependency=dependency,
            reg_lambda=reg_lambda,
            n_critic_steps=n_critic_steps,
            critic_hidden_layer_sizes=critic_hidden_layer_sizes,
            critic_learning_rate=critic_learning_rate,
            critic_dropout=critic_dropout,
            critic_output=critic_output,
            tensor_dim=tensor_dim,
            rank=rank,
            state_dim=state_dim,
            language=language,
            shift=shift,
            pretrained=pretrained,
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
class MutualDependencyRegressor(FusionRegressorMixin, _BaseMutualDependency):
    """Regression by a fusion that keeps what modalities have in common.

    The twin of :class:`MutualDependencyClassifier`; contributions come in the units of `y`.

    Parameters
    ----------
    dependency : {"wasserstein", "kl", "f"}, default="wasserstein"
        What measures the dependency: the Wasserstein distance between joint and shuffled
        representations (eq. 8), their Kullback-Leibler divergence by the bound of Donsker and
        Varadhan (eq. 6), or by that of Nguyen, Wainwright and Jordan (eq. 7).
    reg_lambda : float, default=0.1
        The weight of the dependency in the objective, loss - reg_lambda * dependency (eq. 5), whose
        gradient is never longer than that of the loss. 0 is the plain fusion, bit for bit; the
        critic is trained beside it all the same.
    n_critic_steps : int, default=10
        Steps of the critic before each step of the net (the paper's Unroll).
    critic_hidden_layer_sizes : int or tuple of int, default=(64, 64)
        Hidden layers of the critic.
    critic_learning_rate : float, default=1e-3
        Step size of the critic's AdamW.
    critic_dropout : float, default=0.4
        The probability with which a hidden unit of the critic is dropped in its own steps.
    critic_output : {"linear", "sigmoid"}, default="linear"
        "sigmoid" reproduces the paper's Table 4: it keeps T in (0, 1), and so every bound at 1.
    {fusions}
    loss : {"squared_error", "absolute_error"}, default="squared_error"
        Of the standardized target; the paper's is the absolute error.
    {parameters}

    Attributes
    ----------
    dependency_ : float
        The bound on the training rows: in nats with "kl" and "f", in standard
        deviations per unit of the representation with "wasserstein". More than there is on rows
        that the net has not seen, the more so the fewer rows: see the notes. NaN without two rows.
    {described}
    {attributes}

    Notes
    -----
    NOTE[DIFF] See the notes of :class:`MutualDependencyClassifier`.

    References
    ----------
    Colombo, Chapuis, Labeau and Clavel. Improving Multimodal Fusion via Mutual Dependency
    Maximisation. EMNLP 2021.

    Examples
    --------
    >>> from sklearn_mmfuse import MutualDependencyRegressor
    >>> from sklearn_mmfuse.datasets import make_redundant
    >>> toy = make_redundant(300, random_state=0)
    >>> model = MutualDependencyRegressor(dependency="kl", max_epochs=10, n_critic_steps=2,
    ...                                   learning_rate=0.01, random_state=0)
    >>> model.fit(toy.data, toy.target).dependency_ > 0
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseMutualDependency._parameter_constraints,
        "loss": [choice("squared_error", "absolute_error")],
    }

    def __init__(
        self,
        *,
        fusion: str = "late",
        dependency: str = "wasserstein",
        reg_lambda: float = 0.1,
        n_critic_steps: int = 10,
        critic_hidden_layer_sizes: int | tuple[int, ...] = (64, 64),
        critic_learning_rate: float = 1e-3,
        critic_dropout: float = 0.4,
        critic_output: str = "linear",
        tensor_dim: int = 8,
        rank: int = 4,
        state_dim: int = 64,
        language: str = "text",
        shift: float = 1.0,
        pretrained: str | None = None,
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
            fusion=fusion,
            dependency=dependency,
            reg_lambda=reg_lambda,
            n_critic_steps=n_critic_steps,
            critic_hidden_layer_sizes=critic_hidden_layer_sizes,
            critic_learning_rate=critic_learning_rate,
            critic_dropout=critic_dropout,
            critic_output=critic_output,
            tensor_dim=tensor_dim,
            rank=rank,
            state_dim=state_dim,
            language=language,
            shift=shift,
            pretrained=pretrained,
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
