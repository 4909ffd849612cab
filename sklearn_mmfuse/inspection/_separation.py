"""Separation error: what the interaction terms of a model hold that is not interaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_regressor
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import Averaging, PureEffects, exact_cost
from sklearn_mmfuse._intervals import bootstrap_interval, check_confidence
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.inspection._modality_effects import modality_effects
from sklearn_mmfuse.inspection._predictors import combinable, is_ours, last_step

__all__ = ["separation_error"]

FloatArray = NDArray[np.float64]
# What all higher orders together contain of an order: {order: (n, C)}.
Owed = dict[int, FloatArray]
# Each combination is purified anew.
MAX_BRUTE_FORCE = 200_000


def separation_error(
    estimator: Any,
    X: Any,
    *,
    background: Any = None,
    purify: bool = False,
    scale: float | str = "auto",
    confidence: float = 0.95,
    n_bootstrap: int = 1000,
    groups: ArrayLike | None = None,
    max_evaluations: int = 20_000_000,
    n_draws: int = 500,
    random_state: int | None = 0,
) -> Bunch:
    """Return how much of lower orders the interaction terms of a model contain.

    The mean over samples of `|UC(y_bi + y_tri)| + |BI(y_tri)|` (Woertwein et al., 2022, Figure 3
    and Table 6), for any number of modalities: the sum over orders of the absolute effect of that
    order in the terms of higher orders, averaged over outputs. 0 is perfect. As in the paper, UC
    contains the mean of the terms over all combinations of modalities.

    Parameters
    ----------
    estimator : estimator or Pipeline
        A fitted estimator of this library, or a pipeline that ends with one.
    X : MultimodalData, mapping, data frame or array
        Samples.
    background : like X, optional
        The samples whose marginals are used; `X` by default.
    purify : bool, default=False
        Look at the purified terms, `decompose(purify=True)`. Nothing of lower orders is left in
        them, which is found by brute force: for a few dozen samples.
    scale : float or {"auto", "target", "prediction"}, default="auto"
        The error is divided by this: "target", the standard deviation of the training target (the
        paper's, and the default in regression); "prediction", that of the raw predictions for `X`
        (the default in classification, where logits have no target).
    confidence : float, default=0.95
        Level of the interval.
    n_bootstrap : int, default=1000
        Replicates of the bootstrap over samples.
    groups : array-like of shape (n_samples,), optional
        Whole groups are drawn: the persons that rows belong to.
    max_evaluations, n_draws
        As in the estimator's `decompose`. The error of sampled effects is too large: an absolute
        value does not average noise out.
    random_state : int or None, default=0
        Seeds the bootstrap and the draws.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        `error`; `interval`, its lower and upper end; `per_sample`, (n_samples,); `by_order`, a dict
        from each order to the mean absolute effect of that order in terms of higher orders; all
        in units of `scale`.

    Examples
    --------
    >>> from sklearn_mmfuse import MRORegressor
    >>> from sklearn_mmfuse.datasets import make_additive
    >>> from sklearn_mmfuse.inspection import separation_error
    >>> toy = make_additive(100, random_state=0)
    >>> model = MRORegressor(fusion="tensor", max_epochs=5, random_state=0)
    >>> result = separation_error(model.fit(toy.data, toy.target), toy.data)
    >>> bool(result.interval[0] <= result.error <= result.interval[1])
    True
    """
    estimator, X, background = last_step(estimator, X, background)
    if not is_ours(estimator):
        raise TypeError(
            f"{type(estimator).__name__} has no terms to look at; pass a fitted estimator of this "
            "library. Of any predictor, modality_effects tells what is additive."
        )
    check_is_fitted(estimator)
    check_confidence(confidence)
    averaging = Averaging(max_evaluations, n_draws, random_state)
    parts = estimator.decompose(X, purify=False)
    unit = _unit(estimator, parts, scale)
    if purify:
        owed = _owed_by_brute_force(estimator, X, background)
    else:
        owed = _owed(estimator._term_effects(X, background, averaging))
    sizes = {order: np.abs(total).mean(axis=1) / unit for order, total in owed.items()}
    per_sample = sum(sizes.values(), start=np.zeros(len(parts)))
    low, high = bootstrap_interval(
        lambda weights: weights @ per_sample,
        len(parts),
        n_bootstrap=n_bootstrap,
        confidence=confidence,
        groups=groups,
        random_state=random_state,
    )
    return Bunch(
        error=float(per_sample.mean()),
        interval=(float(low), float(high)),
        per_sample=per_sample,
        by_order={order: float(size.mean()) for order, size in sizes.items()},
    )


def _owed(effects: Mapping[Term, PureEffects]) -> Owed:
    """Add up what terms owe to lower orders; the constant counts as order 1."""
    owed: Owed = {}
    for term, effect in effects.items():
        if term.order == 1:
            continue
        owed[1] = owed.get(1, 0.0) + effect.constant
        for subset, values in effect.values.items():
            if len(subset) < term.order:
                owed[len(subset)] = owed.get(len(subset), 0.0) + values
    return owed


def _owed_by_brute_force(estimator: Any, X: Any, background: Any) -> Owed:
    """Take the effects of the purified terms, order by order, as those of any function."""
    data = combinable(estimator, X, background, None)
    rows = data.take(dict.fromkeys(data.names, np.arange(data.pool.n_rows)))
    behind = data.take(dict.fromkeys(data.names, data.pool.background))

    def purified(some: MultimodalData) -> Decomposition:
        parts: Decomposition = estimator.decompose(some, purify=True, background=behind)
        return parts

    cost = exact_cost(len(data.names), data.pool, len(data.names))
    if cost > MAX_BRUTE_FORCE:
        raise ValueError(
            f"purify=True looks for what is left by brute force, {cost:,} combinations here, more "
            f"than {MAX_BRUTE_FORCE:,}; pass a few dozen rows, and a small background."
        )
    orders = sorted(purified(rows).by_order())
    effects = modality_effects(
        lambda some: np.concatenate(list(purified(some).by_order().values()), axis=1),
        rows,
        background=None if background is None else behind,
        method="exact",
        max_evaluations=MAX_BRUTE_FORCE,
    )
    n_outputs = len(effects.outputs) // len(orders)
    owed: Owed = {}
    for position, order in enumerate(orders):
        outputs = slice(position * n_outputs, (position + 1) * n_outputs)
        for lower, values in effects.by_order().items():
            if lower < order:
                constant = effects.bias[outputs] if lower == 1 else 0.0
                owed[lower] = owed.get(lower, 0.0) + values[:, outputs] + constant
    return owed


def _unit(estimator: Any, parts: Decomposition, scale: float | str) -> float:
    if isinstance(scale, int | float | np.number) and scale > 0:
        return float(scale)
    if scale == "auto":
        scale = "target" if is_regressor(estimator) else "prediction"
    if scale == "target" and is_regressor(estimator):
        return float(estimator._target_scale)
    if scale == "prediction":
        return float(parts.sum().std(axis=0).mean()) or 1.0
    raise ValueError(
        f"scale must be a positive number, 'prediction' or, in regression, 'target'; got {scale!r}."
    )
