"""SMURF: unique and redundant contributions of modalities, in late fusion and beyond."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import comb
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sklearn_mmfuse._data import row_labels
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._params import NON_NEGATIVE, POSITIVE_INT, choice
from sklearn_mmfuse._terms import Term, check_max_order
from sklearn_mmfuse.estimators._base import BaseFusionEstimator
from sklearn_mmfuse.estimators._docs import documents_common
from sklearn_mmfuse.estimators._explained import contributions_of
from sklearn_mmfuse.estimators._fitting import FitData
from sklearn_mmfuse.estimators._redundancy import redundancy_table, surprise_table
from sklearn_mmfuse.estimators._targets import FusionClassifierMixin, FusionRegressorMixin
from sklearn_mmfuse.losses import Penalty, SMURFPenalty, SoftHGRPenalty
from sklearn_mmfuse.nets import FusionNet, SMURFNet, smurf_terms

__all__ = ["SMURFClassifier", "SMURFRegressor"]

FloatArray = NDArray[np.float64]

MAX_TERMS = 2048
AUTO_PENALTY_BATCH = 1024
# Of two rows every covariance is the product of two differences.
MIN_ROWS = 3


class _BaseSMURF(BaseFusionEstimator):
    _reads_constants: ClassVar[bool] = True
    _most_folded: ClassVar[int] = 1999
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusionEstimator._parameter_constraints,
        "reg_lambda": [NON_NEGATIVE],
        "max_order": [POSITIVE_INT],
        "factorization": [choice("smurf", "ehgr"), None],
        "balance": ["boolean"],
        "penalty_batch_size": [POSITIVE_INT, choice("auto")],
    }

    def __init__(
        self,
        *,
        reg_lambda: float,
        max_order: int,
        factorization: str | None,
        balance: bool,
        penalty_batch_size: int | str,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.reg_lambda = reg_lambda
        self.max_order = max_order
        self.factorization = factorization
        self.balance = balance
        self.penalty_batch_size = penalty_batch_size

    def _make_terms(self) -> tuple[Term, ...]:
        names = self.modality_names_
        if len(names) < 2:
            raise ValueError(
                f"{type(self).__name__} tells apart what is unique to a modality and what another "
                f"one shares, which needs at least two modalities; X has one, {names[0]!r}."
            )
        check_max_order(self.max_order, names, what="subsets")
        n_terms = sum(comb(len(names), k) ** 2 for k in range(1, self.max_order + 1))
        if n_terms > MAX_TERMS:
            raise ValueError(
                f"{len(names)} modalities have {n_terms} unique and redundant parts up to order "
                f"{self.max_order}, more than {MAX_TERMS}; use a smaller max_order."
            )
        if self.factorization == "ehgr" and not self._widths:
            raise ValueError(
                "factorization='ehgr' correlates embeddings, and nets without hidden layers have "
                "none; set hidden_layer_sizes, e.g. (64,)."
            )
        return smurf_terms(names, self.max_order)

    def _net_config(
        self, in_features: Mapping[str, int], n_outputs: int, n_rows: int
    ) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "in_features": dict(in_features),
            "modalities": sorted(in_features),  # whatever order they were named in
            "max_order": self.max_order,
            "n_outputs": n_outputs,
            "n_members": 1,
            "input_scaling": self.input_scaling,
            "hidden": self._widths,
            "activation": self.activation,
        }

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        return SMURFNet(**{key: value for key, value in config.items() if key != "dtype"})

    def _penalties(self) -> list[Penalty]:
        if self.factorization is None or self.reg_lambda == 0:
            return []
        if self.factorization == "ehgr":
            return [SoftHGRPenalty(reg_lambda=self.reg_lambda)]
        terms = smurf_terms(self._config["modalities"], self.max_order)
        return [SMURFPenalty(terms, reg_lambda=self.reg_lambda, balance=self.balance)]

    def _penalty_batch_size(self, n_rows: int) -> int:
        if n_rows < MIN_ROWS:
            raise ValueError(
                f"Covariances need at least {MIN_ROWS} training rows; there are {n_rows}."
            )
        if not self._penalties():
            return 0
        size = self.penalty_batch_size
        return AUTO_PENALTY_BATCH if size == "auto" else int(size)

    def _describe(
        self, net: FusionNet, parts: Decomposition, data: FitData, index: pd.Index | None
    ) -> None:
        super()._describe(net, parts, data, index)
        redundant = [term for term in parts.terms if term.kind == "redundant"]
        self.redundant_contributions_ = contributions_of(parts, redundant, index)

    def redundancy_surprise(
        self, X: Any, *, available: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return how much the two redundant parts of each pair disagree.

        |y_IJ - y_JI|: large where one modality says what the other, which usually says the same,
        does not ("unexpected redundancy", Table 6).

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples.
        available : list of str, optional
            Take all other modalities for absent.

        Returns
        -------
        surprise : DataFrame of shape (n, n_pairs)
            A column per pair of modalities (or of subsets); with several outputs the columns are
            `(output, pair)`. NaN where a row lacks one of the two.
        """
        return surprise_table(self._as_recorded(X, available), row_labels(X))

    def redundancy(
        self,
        X: Any,
        *,
        confidence: float = 0.95,
        n_bootstrap: int = 1000,
        groups: ArrayLike | None = None,
        random_state: int | None = 0,
    ) -> pd.DataFrame:
        """Return how far the two redundant parts of each pair say the same.

        Parts of few training rows agree on these rows because training makes them: pass rows that
        the model was not fitted on. Where the interval holds zero there, what the parts contribute
        is not shared, whatever they are called.

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples, best ones that the model was not fitted on.
        confidence : float, default=0.95
            Level of the intervals.
        n_bootstrap : int, default=1000
            Replicates of the rows for the intervals; 0 leaves them out.
        groups : array-like of shape (n,), optional
            Whole groups are drawn: the persons that rows belong to.
        random_state : int or None, default=0
            Seeds the replicates.

        Returns
        -------
        redundancy : DataFrame
            A row per pair of modalities (or of subsets), or per (output, pair): the `correlation`
            of the two parts, the ends `low` and `high` of its interval, and the standard deviations
            `std_first` and `std_second` of the parts, over the rows that lack neither.
        """
        return redundancy_table(
            self._as_recorded(X),
            confidence=confidence,
            n_bootstrap=n_bootstrap,
            groups=groups,
            random_state=random_state,
        )

    def _as_recorded(self, X: Any, available: Sequence[str] | None = None) -> Decomposition:
        """Decompose without parts that make up for absent ones: those say more than they saw."""
        as_they_are = copy.copy(self)
        as_they_are.missing = "error" if self.missing == "error" else "drop"
        return as_they_are.decompose(X, available=available)


@documents_common
class SMURFClassifier(FusionClassifierMixin, _BaseSMURF):
    """Classification as a sum of what is unique to each modality and what each pair shares.

    One net per modality with an output for what only this modality tells, and one for what each
    other modality tells as well. A penalty correlates the two redundant outputs of a pair, and
    uncorrelates them from the unique ones.

    Parameters
    ----------
    reg_lambda : float, default=0.5
        Weight of the penalty, on the scale of a standardized target or of logits; 0 is
        `factorization=None`.
    max_order : int, default=1
        1 is late fusion. From 2 on, subsets of up to so many modalities have unique and redundant
        parts as well, each order trained on what the orders below it leave (MRO-SMURF, appendix A).
    factorization : {"smurf", "ehgr", None}, default="smurf"
        "smurf" correlates the redundant parts of a pair and uncorrelates them from the unique ones;
        "ehgr" correlates the embeddings of modalities instead (soft-HGR, the paper's E-HGR); None
        has the same nets and no penalty.
    balance : bool, default=True
        Whether covariances are measured in units of the parts' own spread, and the two redundant
        parts of a pair made equally large; False is the paper, which rewards redundant parts for
        being large.
    penalty_batch_size : int or "auto", default="auto"
        Rows on which covariances are computed, when more than a batch; "auto" is 1024, or all
        rows when there are fewer.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        The class labels.
    redundant_contributions_ : DataFrame
        What each modality contributes of what another one shares, to each training row.
    {attributes}

    Notes
    -----
    NOTE[DIFF] The paper computes covariances over mini-batches of 256, where they are noisy and
    their absolute values too large; here over `penalty_batch_size` rows. Logits are centered over
    classes before; targets are standardized, without which `reg_lambda` has no meaning; `balance`
    is an addition, explained at `losses.SMURFPenalty`. Outputs start at zero, so that the loss and
    not chance decides on the sign of redundant parts. AdamW replaces Adam.

    A redundant part is what one modality alone says about what another says as well: both are
    addends of the prediction, and `redundancy_surprise` tells where they disagree.

    References
    ----------
    Woertwein, Allen, Cohn and Morency. SMURF: Statistical Modality Uniqueness and Redundancy
    Factorization. ICMI 2024.

    Examples
    --------
    >>> from sklearn_mmfuse import SMURFClassifier
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> cancer = load_breast_cancer_modalities()
    >>> model = SMURFClassifier(max_epochs=20, random_state=0)
    >>> model.fit(cancer.data, cancer.target).score(cancer.data, cancer.target) > 0.95
    True
    >>> model.unique_contributions_.shape, model.redundant_contributions_.shape
    ((569, 3), (569, 6))
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseSMURF._parameter_constraints,
        "class_weight": [dict, choice("balanced"), None],
    }

    def __init__(
        self,
        *,
        reg_lambda: float = 0.5,
        max_order: int = 1,
        factorization: str | None = "smurf",
        balance: bool = True,
        penalty_batch_size: int | str = "auto",
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
            reg_lambda=reg_lambda,
            max_order=max_order,
            factorization=factorization,
            balance=balance,
            penalty_batch_size=penalty_batch_size,
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
class SMURFRegressor(FusionRegressorMixin, _BaseSMURF):
    """Regression as a sum of what is unique to each modality and what each pair shares.

    The twin of :class:`SMURFClassifier`; contributions come in the units of `y`.

    Parameters
    ----------
    reg_lambda : float, default=0.5
        Weight of the penalty, on the scale of a standardized target or of logits; 0 is
        `factorization=None`.
    max_order : int, default=1
        1 is late fusion. From 2 on, subsets of up to so many modalities have unique and redundant
        parts as well, each order trained on what the orders below it leave (MRO-SMURF, appendix A).
    factorization : {"smurf", "ehgr", None}, default="smurf"
        "smurf" correlates the redundant parts of a pair and uncorrelates them from the unique ones;
        "ehgr" correlates the embeddings of modalities instead (soft-HGR, the paper's E-HGR); None
        has the same nets and no penalty.
    balance : bool, default=True
        Whether covariances are measured in units of the parts' own spread, and the two redundant
        parts of a pair made equally large; False is the paper, which rewards redundant parts for
        being large.
    penalty_batch_size : int or "auto", default="auto"
        Rows on which covariances are computed, when more than a batch; "auto" is 1024, or all
        rows when there are fewer.
    loss : {"squared_error", "absolute_error"}, default="squared_error"
        Of the standardized target.
    {parameters}

    Attributes
    ----------
    redundant_contributions_ : DataFrame
        What each modality contributes of what another one shares, to each training row.
    {attributes}

    Notes
    -----
    NOTE[DIFF] The paper computes covariances over mini-batches of 256, where they are noisy and
    their absolute values too large; here over `penalty_batch_size` rows. Logits are centered over
    classes before; targets are standardized, without which `reg_lambda` has no meaning; `balance`
    is an addition, explained at `losses.SMURFPenalty`. Outputs start at zero, so that the loss and
    not chance decides on the sign of redundant parts. AdamW replaces Adam.

    A redundant part is what one modality alone says about what another says as well: both are
    addends of the prediction, and `redundancy_surprise` tells where they disagree.

    References
    ----------
    Woertwein, Allen, Cohn and Morency. SMURF: Statistical Modality Uniqueness and Redundancy
    Factorization. ICMI 2024.

    Examples
    --------
    >>> from sklearn_mmfuse import SMURFRegressor
    >>> from sklearn_mmfuse.datasets import make_redundant
    >>> toy = make_redundant(400, n_modalities=2, random_state=0)
    >>> model = SMURFRegressor(hidden_layer_sizes=(), learning_rate=0.01, random_state=0)
    >>> [str(term) for term in model.fit(toy.data, toy.target).terms_]
    ['A (unique)', 'A (redundant with B)', 'B (unique)', 'B (redundant with A)']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_BaseSMURF._parameter_constraints,
        "loss": [choice("squared_error", "absolute_error")],
    }

    def __init__(
        self,
        *,
        reg_lambda: float = 0.5,
        max_order: int = 1,
        factorization: str | None = "smurf",
        balance: bool = True,
        penalty_batch_size: int | str = "auto",
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
            reg_lambda=reg_lambda,
            max_order=max_order,
            factorization=factorization,
            balance=balance,
            penalty_batch_size=penalty_batch_size,
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
