"""The fusion systems that the papers compare with, and what explains those that do not add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import Averaging
from sklearn_mmfuse._params import NON_NEGATIVE, POSITIVE_INT, choice
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.estimators._aligned import check_aligned, check_token_ids, step_encoders
from sklearn_mmfuse.estimators._base import BaseFusionEstimator
from sklearn_mmfuse.estimators._docs import documents_common
from sklearn_mmfuse.estimators._encoders import resolve_encoders
from sklearn_mmfuse.estimators._explained import Blocks, contributions_of
from sklearn_mmfuse.estimators._fitting import FitData, Shared, as_tensors, present_rows
from sklearn_mmfuse.estimators._purify import purified
from sklearn_mmfuse.estimators._targets import FusionClassifierMixin, FusionRegressorMixin
from sklearn_mmfuse.nets import (
    FUSIONS,
    MAX_PRODUCT,
    EncoderSpec,
    FusedNet,
    FusionNet,
    fusion_terms,
)

__all__ = ["BaseFusion", "FusionClassifier", "FusionRegressor"]

# What describing a net that does not add up may cost after a fit, in small perceptrons.
BUDGET = 300_000
MAX_DESCRIBED, MIN_DESCRIBED = 200, 20  # training rows
MAX_DRAWS, MIN_DRAWS = 500, 20
# The same for explaining given rows.
EXPLAINING = 1_000_000
MAX_EXPLAINING, MIN_EXPLAINING = 20_000, 500  # draws
PRETRAINED_DECAY = 0.01
MAX_MODALITIES = 10  # of which all sets are looked at after every fit


class BaseFusion(BaseFusionEstimator):
    """Any fusion; :class:`FusionClassifier` and its kin add a target to it."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusionEstimator._parameter_constraints,
        "fusion": [choice(*FUSIONS)],
        "tensor_dim": [POSITIVE_INT],
        "rank": [POSITIVE_INT],
        "state_dim": [POSITIVE_INT],
        "language": [str],
        "shift": [NON_NEGATIVE],
        "pretrained": [str, None],
    }

    def __init__(
        self,
        *,
        fusion: str,
        tensor_dim: int,
        rank: int,
        state_dim: int,
        language: str,
        shift: float,
        pretrained: str | None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.fusion = fusion
        self.tensor_dim = tensor_dim
        self.rank = rank
        self.state_dim = state_dim
        self.language = language
        self.shift = shift
        self.pretrained = pretrained

    # The net -------------------------------------------------------------------------------------

    def _make_terms(self) -> tuple[Term, ...]:
        names = self.modality_names_
        if FUSIONS[self.fusion].has_language:
            self._check_language(names)
        size = (self.tensor_dim + 1) ** len(names)
        if self.fusion == "tensor" and size > MAX_PRODUCT:
            raise ValueError(
                f"The outer product of {len(names)} embeddings of width {self.tensor_dim} + 1 has "
                f"{size} entries, more than {MAX_PRODUCT}; use a smaller tensor_dim, or "
                "fusion='low_rank', which never forms it."
            )
        return fusion_terms(self.fusion, names)

    def _check_language(self, names: Sequence[str]) -> None:
        if self.language not in names:
            raise ValueError(
                f"fusion={self.fusion!r} needs to know which modality is the language; there is no "
                f"{self.language!r} among {list(names)}. Name it, e.g. language={names[0]!r}."
            )
        if len(names) < 2:
            raise ValueError(
                f"fusion={self.fusion!r} shifts the words of {self.language!r} by other "
                "modalities, and X has none."
            )

    def _encoder_specs(self, n_steps: Mapping[str, int]) -> dict[str, EncoderSpec]:
        kind = FUSIONS[self.fusion]
        if kind.aligned:
            return step_encoders(self.fusion, self.encoder, self.modality_shapes_)
        encoder, wanted = self.encoder, kind.sequence_encoder
        if wanted is not None and (encoder == "auto" or isinstance(encoder, Mapping)):
            own = {"name": "lstm", "width": self.state_dim} if wanted == "lstm" else wanted
            named = {} if encoder == "auto" else encoder
            sequences = [n for n, shape in self.modality_shapes_.items() if len(shape) == 2]
            encoder = {**dict.fromkeys(sequences, own), **named}
        specs = resolve_encoders(encoder, self.modality_shapes_, n_steps)
        if wanted is not None:
            self._check_encoders(specs, wanted)
        return specs

    def _auto_weight_decay(self, n_batches: int) -> float:
        """Return that of all estimators, but keep what a language model has learned."""
        return PRETRAINED_DECAY if self.fusion == "mag" else super()._auto_weight_decay(n_batches)

    def _check_encoders(self, specs: Mapping[str, EncoderSpec], wanted: str) -> None:
        sequences = {name: spec.kind for name, spec in specs.items() if len(spec.shape) == 2}
        if not sequences:
            raise ValueError(
                f"fusion={self.fusion!r} reads sequences (n, T, d), and X has none; use 'concat', "
                "'late', 'tensor' or 'low_rank'."
            )
        if other := {name: kind for name, kind in sequences.items() if kind != wanted}:
            raise ValueError(
                f"fusion={self.fusion!r} reads sequences by {wanted!r}; got encoders {other}. "
                "Leave encoder='auto', or use fusion='concat' with any encoder."
            )

    def _fit_data(
        self, blocks: Blocks, y: Any, sample_weight: Any, groups: Any, shared: Shared
    ) -> FitData:
        if FUSIONS[self.fusion].aligned:
            step_encoders(self.fusion, self.encoder, self.modality_shapes_)  # sequences at all
        if self.fusion == "mag":
            config = FUSIONS["mag"].complete(self._options())["language_config"]
            check_token_ids(self.language, blocks, config)
        if FUSIONS[self.fusion].aligned:
            check_aligned(self.fusion, blocks)
        return super()._fit_data(blocks, y, sample_weight, groups, shared)

    def _check_again(
        self,
        X: Any,
        available: Sequence[str] | None = None,
        *,
        missing: Literal["error", "mask"] | None = None,
    ) -> Blocks:
        blocks = super()._check_again(X, available, missing=missing)
        fusion, options = self._config["fusion"], self._config["options"]  # as fitted
        if "language_config" in options:
            check_token_ids(options["language"], blocks, options["language_config"])
        if FUSIONS[fusion].aligned:
            check_aligned(fusion, blocks, to_the_end=False)
        return blocks

    def _net_config(
        self, in_features: Mapping[str, int], n_outputs: int, n_rows: int
    ) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "fusion": self.fusion,
            "in_features": dict(in_features),
            "n_outputs": n_outputs,
            "n_members": 1,
            "input_scaling": self.input_scaling,
            "hidden": self._widths,
            "activation": self.activation,
            "options": FUSIONS[self.fusion].complete(self._options()),
        }

    def _options(self) -> dict[str, Any]:
        return {
            "tensor_dim": self.tensor_dim,
            "rank": self.rank,
            "state_dim": self.state_dim,
            "language": self.language,
            "shift": float(self.shift),
            "pretrained": self.pretrained,
        }

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        return FusedNet(**{key: value for key, value in config.items() if key != "dtype"})

    # What explains it ----------------------------------------------------------------------------

    @property
    def _adds_up(self) -> bool:
        return FUSIONS[self._config["fusion"]].additive or len(self.modality_names_) == 1

    def decompose(
        self,
        X: Any,
        *,
        purify: bool | str = "auto",
        background: Any = None,
        max_evaluations: int = 20_000_000,
        n_draws: int | str = "auto",
        random_state: int | np.random.RandomState | None = 0,
        available: Sequence[str] | None = None,
    ) -> Decomposition:
        """Split predictions into contributions that add up to them exactly.

        Late fusion adds up by itself (`method` of the result is "terms"). Any other fusion has one
        term, of all modalities; it is split into pure effects, as
        :func:`~sklearn_mmfuse.inspection.modality_effects` does with any predictor ("effects").

        Parameters
        ----------
        X : MultimodalData, mapping, data frame or array
            Samples in any form that names the modalities seen in `fit`.
        purify : bool or "auto", default="auto"
            Whether to return pure effects; "auto" does so where the net does not add up, or where
            there is a `background`. Effects need rows, and a background, that lack no modality.
        background : like X, optional
            The rows over which modalities are averaged; by default `X` itself. Pass the training
            rows to explain few samples, or one.
        max_evaluations : int, default=20_000_000
            Averages over all combinations of background rows are exact up to this cost; beyond,
            they are estimated from draws, with `standard_errors`. Fusions step by step cost some
            dozens per combination.
        n_draws : int or "auto", default="auto"
            Combinations to draw in that case; "auto" is 500 for many rows and up to 20,000 for
            few.
        random_state : int, RandomState or None, default=0
            Seeds these draws.
        available : list of str, optional
            Take all other modalities for absent, whether or not `X` has them.

        Returns
        -------
        parts : Decomposition
            Contributions of shape (n_samples, n_terms, n_outputs): in the units of `y` in
            regression, in log-odds of `classes_[1]` in binary and in logits in multiclass
            classification.
        """
        if purify not in (True, False, "auto"):
            raise ValueError(f"purify must be True, False or 'auto'; got {purify!r}.")
        if purify == "auto":
            purify = background is not None or (hasattr(self, "module_") and not self._adds_up)
        if n_draws == "auto":
            n_draws = self._draws_for(X) if purify else MIN_EXPLAINING
        return super().decompose(
            X,
            purify=bool(purify),
            background=background,
            max_evaluations=max_evaluations,
            n_draws=n_draws,  # type: ignore[arg-type]
            random_state=random_state,
            available=available,
        )

    def _draws_for(self, X: Any) -> int:
        """Return how many draws explain these rows in some seconds."""
        check_is_fitted(self)
        blocks = self._check_again(X)
        n_rows, n_sets = len(next(iter(blocks.values()))), max(2 ** len(blocks) - 2, 1)
        affordable = EXPLAINING // (n_rows * n_sets * self._unit_cost(self.module_, blocks))
        return int(np.clip(affordable, MIN_EXPLAINING, MAX_EXPLAINING))

    def _describe(
        self, net: FusionNet, parts: Decomposition, data: FitData, index: pd.Index | None
    ) -> None:
        super()._describe(net, parts, data, index)
        rows = self._described_rows(net, data)
        if rows is None:
            return
        few = {name: block[rows] for name, block in data.blocks.items()}
        cost, n_sets = self._unit_cost(net, few), 2 ** len(few) - 2
        n_draws = int(np.clip(BUDGET // (cost * n_sets * len(rows)), MIN_DRAWS, MAX_DRAWS))
        effects = self._net_effects(net, few, None, Averaging(BUDGET, n_draws, 0))
        explained = purified(parts[rows], self._centered(effects), self.modality_names_)
        self.relevance_scores_ = self._relevance_scores(_less_noise(explained), data.weight[rows])
        alone = [term for term in explained.terms if term.order == 1]
        where = pd.Index(rows) if index is None else index[rows]
        self.unique_contributions_ = contributions_of(explained, alone, where)

    def _described_rows(self, net: FusionNet, data: FitData) -> np.ndarray[Any, Any] | None:
        """Return which training rows effects are computed of, or None where there are none."""
        if self._adds_up or len(data.blocks) > MAX_MODALITIES:
            return None
        present = present_rows(data.blocks)
        complete = data.weight > 0
        for there in (present or {}).values():
            complete = complete & there
        rows = np.flatnonzero(complete)
        if len(rows) < 2:
            return None
        cost = self._unit_cost(net, {name: block[rows[:2]] for name, block in data.blocks.items()})
        n_sets = 2 ** len(data.blocks) - 2
        n_rows = int(np.clip(BUDGET // (cost * n_sets * 50), MIN_DESCRIBED, MAX_DESCRIBED))
        if n_rows >= len(rows):
            return rows
        return np.sort(np.random.RandomState(0).choice(rows, n_rows, replace=False))

    @staticmethod
    @torch.no_grad()
    def _unit_cost(net: FusionNet, blocks: Blocks) -> int:
        X, _ = as_tensors({name: block[:2] for name, block in blocks.items()}, net.in_features)
        return max(term.unit_cost for term in net.separate(X))


def _less_noise(parts: Decomposition) -> Decomposition:
    """Return values without what the noise of draws adds to their squares, on average."""
    if parts.standard_errors is None:
        return parts
    squares = parts.values**2 - parts.standard_errors**2
    return replace(parts, values=np.sign(parts.values) * np.sqrt(np.maximum(squares, 0.0)))


@documents_common
class FusionClassifier(FusionClassifierMixin, BaseFusion):
    """Classification by one of the systems that the papers compare with.

    Parameters
    ----------
    {fusions}
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into the sample weights.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        The class labels.
    {described}
    {attributes}

    Notes
    -----
    Late fusion is `MROClassifier(max_order=1)`, up to rounding where no row lacks a modality.
    Where one does, late fusion leaves its contribution out, as `missing` says; any other reads the
    modality's training mean instead (zero with `input_scaling=None`), of a sequence one step there,
    so that "recover" and "drop" are the same.

    Rows must have the same time steps in every modality where a fusion is step by step. In
    prediction, one may end before the others and is then at its mean: explanations combine rows.

    NOTE[DIFF] Sizes, optimizer and regularization are this library's for all of them, so that what
    is compared is the fusion; the files in `sklearn_mmfuse/nets/_fusions` say where one departs
    from its paper.

    References
    ----------
    Zadeh et al. Tensor Fusion Network for Multimodal Sentiment Analysis. EMNLP 2017. ("tensor")

    Liu et al. Efficient Low-rank Multimodal Fusion with Modality-Specific Factors. ACL 2018.
    ("low_rank")

    Zadeh et al. Memory Fusion Network for Multi-view Sequential Learning. AAAI 2018. ("mfn")

    Wang et al. Words Can Shift: Dynamically Adjusting Word Representations Using Nonverbal
    Behaviors. AAAI 2019. ("raven")

    Tsai et al. Multimodal Transformer for Unaligned Multimodal Language Sequences. ACL 2019.
    ("mult", and the LSTM baselines)

    Rahman et al. Integrating Multimodal Information in Large Pretrained Transformers. ACL 2020.
    ("mag")

    Examples
    --------
    >>> from sklearn_mmfuse import FusionClassifier
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> cancer = load_breast_cancer_modalities()
    >>> model = FusionClassifier(fusion="tensor", max_epochs=20, random_state=0)
    >>> model.fit(cancer.data, cancer.target).score(cancer.data, cancer.target) > 0.95
    True
    >>> parts = model.decompose(cancer.data[:20])
    >>> parts.method, [str(term) for term in parts.terms][:4]
    ('effects', ['mean', 'error', 'worst', 'error × mean'])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusion._parameter_constraints,
        "class_weight": [dict, choice("balanced"), None],
    }

    def __init__(
        self,
        *,
        fusion: str = "concat",
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
class FusionRegressor(FusionRegressorMixin, BaseFusion):
    """Regression by one of the systems that the papers compare with.

    The twin of :class:`FusionClassifier`; contributions come in the units of `y`.

    Parameters
    ----------
    {fusions}
    loss : {"squared_error", "absolute_error"}, default="squared_error"
        Of the standardized target.
    {parameters}

    Attributes
    ----------
    {described}
    {attributes}

    Notes
    -----
    NOTE[DIFF] See the notes of :class:`FusionClassifier`.

    References
    ----------
    See :class:`FusionClassifier`; "tensor", for one, is Zadeh et al. Tensor Fusion Network for
    Multimodal Sentiment Analysis. EMNLP 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse import FusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(300, 3)), "audio": rng.normal(size=(300, 2))}
    >>> y = 5 * X["text"][:, 0] + X["audio"][:, 0]
    >>> model = FusionRegressor(fusion="late", learning_rate=0.01, random_state=0).fit(X, y)
    >>> model.relevance_scores_.round(1)
    term
    text     0.8
    audio    0.2
    Name: relevance, dtype: float64
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFusion._parameter_constraints,
        "loss": [choice("squared_error", "absolute_error")],
    }

    def __init__(
        self,
        *,
        fusion: str = "concat",
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
