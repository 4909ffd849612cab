"""What a score owes to each modality, and to each term."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import subsets
from sklearn_mmfuse._random import generator
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.inspection._predictors import (
    Combinable,
    combinable,
    is_ours,
    last_step,
    with_decompose,
)
from sklearn_mmfuse.inspection._scores import Replicates, Scores

__all__ = ["modality_importance"]

KINDS = ("permutation", "ablation")


def modality_importance(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    kind: str = "permutation",
    sets: Sequence[Any] | None = None,
    max_order: int | None = 1,
    modalities: dict[str, Any] | None = None,
    scoring: Any = None,
    sample_weight: Any = None,
    n_repeats: int = 10,
    n_bootstrap: int = 0,
    confidence: float = 0.95,
    groups: Any = None,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    """Return how much a score falls without a modality, a set of them, or a term.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted; for "permutation" any that scikit-learn can score.
    X : MultimodalData, mapping, data frame or array
        Samples, best ones that the estimator was not fitted on.
    y : array-like of shape (n_samples,)
        Their targets.
    kind : {"permutation", "ablation"}, default="permutation"
        "permutation" shuffles the rows of a set of modalities, together, so that they no longer
        belong to the others; a row that lacks one hands that on. "ablation" leaves terms of the
        decomposition out, without training again (Table 4 of Woertwein et al., 2022); for
        estimators of this library.
    sets : sequence of sets, optional
        Which modalities to shuffle, or which terms to leave out, together: `[["audio", "video"]]`.
        By default all sets of up to `max_order` modalities; or each term, and all interactions.
    max_order : int or None, default=1
        See `sets`; None is all. "ablation" does not look at it, at `modalities`, at `n_repeats`.
    modalities : dict of str to selector, optional
        Which columns make up each modality, for arrays and for frames without prefixes.
    scoring : str or callable, optional
        As in scikit-learn; the estimator's own `score` by default.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the score.
    n_repeats : int, default=10
        Shuffles of each set.
    n_bootstrap : int, default=0
        Replicates of the rows, for intervals of the importance; 200 will do, 0 leaves them out.
    confidence : float, default=0.95
        Level of the intervals.
    groups : array-like of shape (n_samples,), optional
        Whole groups are drawn for intervals: the persons that rows belong to.
    random_state : int, RandomState or None, default=None
        Seeds the shuffles, and then the replicates; every set is shuffled in the same ways.

    Returns
    -------
    importance : DataFrame
        A row per set. `importance` is the score minus the score without the set; "permutation"
        adds `std` over the repeats (of shuffles, not of other samples), "ablation" the mean
        `change` of the prediction (see `Decomposition.change_without`). With `n_bootstrap`, the
        ends `low` and `high` of the interval that other samples, or persons, make likely: of what
        this model owes to the set, and not of what another, trained on others, would.

    Raises
    ------
    ValueError
        When a parameter is out of range, `groups` come without `n_bootstrap`, or the metric of
        `n_bootstrap` cannot weigh rows.
    TypeError
        When an estimator has no terms that "ablation" could leave out.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_mmfuse.datasets import make_additive
    >>> from sklearn_mmfuse.inspection import modality_importance
    >>> toy = make_additive(200, random_state=0)
    >>> X = toy.data.to_numpy()
    >>> columns = {name: [i] for i, name in enumerate(toy.data)}
    >>> model = LinearRegression().fit(X, toy.target)
    >>> table = modality_importance(model, X, toy.target, modalities=columns, random_state=0)
    >>> bool((table["importance"] > 0.3).all())
    True
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {list(KINDS)}; got {kind!r}.")
    if isinstance(sets, str):
        raise ValueError(f"sets must be a list of sets; got {sets!r}, write [{sets!r}].")
    estimator, X = last_step(estimator, X)
    if is_ours(estimator):
        check_is_fitted(estimator)
    rng = generator(random_state)
    replicates = Replicates(n_bootstrap, confidence, groups, rng)
    scores = partial(Scores, estimator, scoring, y, sample_weight, replicates)
    if kind == "ablation":
        return _ablation(estimator, X, sets, scores(), sample_weight)
    if not isinstance(n_repeats, int | np.integer) or n_repeats < 1:
        raise ValueError(f"n_repeats must be a positive integer; got {n_repeats!r}.")
    data = combinable(estimator, X, None, modalities, gaps=True)
    asked = _sets_of_modalities(sets, data.names, max_order)
    # Drawn before the replicates: shuffles are the same with and without these.
    shuffles = [rng.permutation(data.pool.n_rows) for _ in range(n_repeats)]
    return _permutation(estimator, data, asked, shuffles, scores())


def _permutation(
    estimator: Any,
    data: Combinable,
    asked: Sequence[tuple[str, ...]],
    shuffles: Sequence[NDArray[np.intp]],
    score: Scores,
) -> pd.DataFrame:
    rows = np.arange(data.pool.n_rows)

    def scored(names: tuple[str, ...], order: NDArray[np.intp]) -> NDArray[np.float64]:
        taken = {m: order if m in names else rows for m in data.names}
        return score(estimator, data.take(taken))

    whole, table = scored((), rows), {}
    for names in asked:
        falls = np.stack([whole - scored(names, order) for order in shuffles])
        fall = falls.mean(axis=0)
        spread = float(np.std(falls[:, 0]))
        table[" + ".join(names)] = [float(fall[0]), spread, *score.interval(fall)]
    return _frame(table, ["importance", "std", *score.columns], "modalities")


def _sets_of_modalities(
    sets: Sequence[Any] | None, names: list[str], max_order: int | None
) -> list[tuple[str, ...]]:
    if sets is None:
        max_order = len(names) if max_order is None else max_order
        if not isinstance(max_order, int | np.integer) or not 1 <= max_order <= len(names):
            raise ValueError(f"max_order must be between 1 and {len(names)}; got {max_order!r}.")
        return subsets(names, max_order)
    asked = [(one,) if isinstance(one, str) else tuple(one) for one in sets]
    if unknown := {name for one in asked for name in one if name not in names}:
        raise ValueError(f"sets names {sorted(unknown)}, but the modalities are {names}.")
    return asked


def _ablation(
    estimator: Any, X: Any, sets: Sequence[Any] | None, score: Scores, sample_weight: Any
) -> pd.DataFrame:
    if not is_ours(estimator):
        raise TypeError(
            f"{type(estimator).__name__} has no terms to leave out; kind='ablation' needs a fitted "
            "estimator of this library."
        )
    parts: Decomposition = estimator.decompose(X)
    whole = score(estimator, X)
    table = {}
    for label, terms in _sets_of_terms(sets, parts):
        left = parts.drop(terms)
        reduced = with_decompose(estimator, lambda X, _left=left, **options: _left)
        change = float(np.average(parts.change_without(terms), weights=sample_weight))
        fall = whole - score(reduced, X)
        table[label] = [float(fall[0]), change, *score.interval(fall)]
    return _frame(table, ["importance", "change", *score.columns], "terms")


def _sets_of_terms(sets: Sequence[Any] | None, parts: Decomposition) -> list[tuple[str, Any]]:
    if sets is not None:
        asked = [[one] if isinstance(one, str | Term) else list(one) for one in sets]
        named = [[str(term) for term in parts.select(one).terms] for one in asked]
        return [(" + ".join(names), names) for names in named]
    single: list[tuple[str, Any]] = [(str(term), [term]) for term in parts.terms]
    interactions = parts.interactions()
    return [*single, ("all interactions", interactions)] if len(interactions) > 1 else single


def _frame(table: dict[str, list[float]], columns: list[str], index: str) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(table, orient="index", columns=columns)
    frame.index.name = index
    return frame
