"""What a trained net predicts, as one contribution per term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import Averaging, PureEffects
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse._training import predict_network
from sklearn_mmfuse._validation import check_modalities
from sklearn_mmfuse._warnings import warn_user
from sklearn_mmfuse.estimators._ensemble import mean_decomposition, mean_effects, member_nets
from sklearn_mmfuse.estimators._fitting import FitData, as_tensors, present_rows
from sklearn_mmfuse.estimators._missing import contribution_moments, keep_available, recover
from sklearn_mmfuse.estimators._purify import purified, term_effects
from sklearn_mmfuse.nets import FusionNet

__all__ = ["Blocks", "ExplainedPredictions", "contributions_of"]

FloatArray = NDArray[np.float64]
Blocks = dict[str, NDArray[np.floating[Any]]]


class ExplainedPredictions:
    """The half of every estimator that reads a trained net; the other half trains it."""

    missing: str
    modality_names_in_: NDArray[Any]
    module_: FusionNet
    terms_: tuple[Term, ...]
    unique_contributions_: pd.DataFrame

    _scores: pd.Series
    _chance: str | None  # why scores mean nothing, where they do not

    # Of the training rows, set in the end: the mean of every term, by net; what absent
    # contributions are recovered by.
    _term_means: FloatArray
    _moments: FloatArray | None
    # The training rows, where only predictions were wanted: which need no means, unless of rows
    # that lack a modality.
    _uncentered: FitData | None = None
    # How raw predictions become those of the target.
    _target_mean: float | FloatArray
    _target_scale: float
    _link: str
    _config: dict[str, Any]

    @staticmethod
    def _build_net(config: Mapping[str, Any]) -> FusionNet:
        """Return an untrained net."""
        raise NotImplementedError

    def _output_names(self) -> list[Any]:
        """Return a name per raw output."""
        raise NotImplementedError

    @property
    def relevance_scores_(self) -> pd.Series:
        """The relevance of every term."""
        if not hasattr(self, "_scores"):
            raise AttributeError(f"This {type(self).__name__} is not fitted yet; call fit first.")
        if self._chance is not None:
            warn_user(self._chance)
        return self._scores

    @relevance_scores_.setter
    def relevance_scores_(self, scores: pd.Series) -> None:
        self._scores = scores

    @property
    def _dtype(self) -> str:
        return str(self._config["dtype"])

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
            raise ValueError(_no_pure_effects(blocks))
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
            if self._uncentered is not None:
                self._center(net)
        return self._as_parts(values, bias, absent)

    @staticmethod
    def _no_means(net: FusionNet) -> FloatArray:
        return np.zeros((1, len(net.terms), net.n_outputs))

    def _center(self, net: FusionNet) -> Decomposition:
        """Learn the means of the terms; return the contributions of the training rows."""
        data, self._uncentered = self._uncentered, None
        assert data is not None
        values, bias, absent = self._net_terms(net, data.blocks)
        there = np.ones(values.shape[1:3]) if absent is None else 1.0 - absent
        total = data.weight @ there
        weighted = np.einsum("n,nt,entc->etc", data.weight, there, values)
        self._term_means = weighted / np.where(total > 0, total, 1.0)[:, np.newaxis]
        parts = self._as_parts(values, bias, absent)
        self._moments = contribution_moments(parts.values, data.weight, parts.absent)
        return parts

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


def contributions_of(
    parts: Decomposition, terms: Sequence[Term], index: pd.Index | None
) -> pd.DataFrame:
    """Return the contributions of some terms, a row per sample; unique ones by modality."""
    frame = parts.select(terms).to_frame(index)
    named = {str(t): str(Term(t.modalities)) for t in terms if t.kind == "unique"}
    if isinstance(frame.columns, pd.MultiIndex):
        return frame.drop(columns="bias", level="term").rename(columns=named, level="term")
    return frame.drop(columns="bias").rename(columns=named)


def _no_pure_effects(blocks: Mapping[str, Any]) -> str:
    """Return why there are no pure effects: which modalities are absent, and from how many rows."""
    present = present_rows(blocks) or {}
    gaps = {name: int((~there).sum()) for name, there in present.items() if not there.all()}
    told = ", ".join(f"{n_rows} lack {name!r}" for name, n_rows in gaps.items())
    n_rows = len(next(iter(blocks.values())))
    return (
        f"Pure effects need every modality of every row; of {n_rows} rows, {told}. "
        "Leave such rows out, or take contributions as they are, purify=False."
    )
