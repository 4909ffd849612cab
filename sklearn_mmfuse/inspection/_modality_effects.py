"""Pure effects of modalities on any predictor: how much is additive, how much needs several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._effects import (
    Averaging,
    Pool,
    PureEffects,
    exact_cost,
    exact_effects,
    sampled_cost,
    sampled_effects,
)
from sklearn_mmfuse._intervals import check_confidence
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.inspection._predictors import as_predictor, combinable, last_step

__all__ = ["emap", "modality_effects"]

METHODS = ("auto", "exact", "sampled")
MAX_MODALITIES = 10  # of which all 1,023 sets are looked at without being asked for


def modality_effects(
    predictor: Any,
    X: Any,
    *,
    background: Any = None,
    modalities: dict[str, Any] | None = None,
    max_order: int | None = None,
    method: str = "auto",
    max_evaluations: int = 2_000_000,
    n_draws: int = 500,
    confidence: float = 0.95,
    response_method: str = "auto",
    random_state: int | np.random.RandomState | None = None,
) -> Decomposition:
    """Return the pure effect of every set of modalities on a predictor.

    The effect of one modality is what the prediction owes to it whatever the others are; that of
    several is what it owes to their combination and to no smaller one. Expectations are over the
    product of the marginals: every modality is drawn on its own, which makes combinations that the
    data does not hold. `by_order()` of the result are UC (with the bias), BI, TI, ... of
    Woertwein et al. (2022), eqs. 1-3.

    Parameters
    ----------
    predictor : estimator, Pipeline or callable
        A fitted estimator of this library or of scikit-learn, or a function from data to numbers,
        (n,) or (n, n_outputs).
    X : MultimodalData, mapping, data frame or array
        The samples to explain, in the form that the predictor reads.
    background : like X, optional
        The samples whose marginals are used; `X` by default.
    modalities : dict of str to selector, optional
        Which columns make up each modality, for arrays and for frames without prefixes.
    max_order : int, optional
        The largest set to look at; all by default. With fewer, the effects add up to the closest
        prediction without larger interactions, not to the prediction.
    method : {"auto", "exact", "sampled"}, default="auto"
        "exact" averages over all combinations of background rows; "sampled" over draws, which
        gives standard errors; "auto" is exact within the budget, or where draws would cost more.
    max_evaluations : int, default=2_000_000
        The budget of "exact", in rows to predict.
    n_draws : int, default=500
        Draws of "sampled", shared by all rows of `X`; each predicts every row once per set of
        modalities.
    confidence : float, default=0.95
        Level of the result's `interval()`.
    response_method : {"auto", "decision_function", "predict_proba", "predict"}, default="auto"
        What is explained. "auto" is the raw prediction of this library's estimators; of others
        the first that a classifier has, and `predict` of a regressor.
    random_state : int, RandomState or None, default=None
        Seeds the draws.

    Returns
    -------
    effects : Decomposition
        A term per set of modalities, with mean zero over each of its modalities; the bias is the
        mean prediction over all combinations. Has `standard_errors` when sampled.

    Raises
    ------
    ValueError
        When there is one modality, the background has others, the budget is too small for
        "exact", or the predictor returns what it must not.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.inspection import modality_effects
    >>> X = {"audio": np.array([[-1.0], [1.0]]), "text": np.array([[0.0], [2.0]])}
    >>> modality_effects(lambda X: X["audio"] * X["text"], X).to_frame()
       audio  text  audio × text  bias
    0   -1.0   0.0           1.0   0.0
    1    1.0   0.0           1.0   0.0
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}; got {method!r}.")
    check_confidence(confidence)
    averaging = Averaging(max_evaluations, n_draws, random_state)
    predictor, X, background = last_step(predictor, X, background)
    answer = as_predictor(predictor, response_method)
    data = combinable(predictor, X, background, modalities)
    order = _check_order(max_order, data.names)

    def evaluate(rows: Mapping[str, NDArray[np.intp]]) -> NDArray[np.float64]:
        return answer(data.take(rows), len(rows[data.names[0]]))

    effects = _effects(evaluate, data.names, data.pool, order, method, averaging)
    errors = effects.errors
    return Decomposition(
        np.stack(list(effects.values.values()), axis=1),
        effects.constant,
        [Term(subset) for subset in effects.values],
        answer.link,
        answer.output_names(),
        None if errors is None else np.stack(list(errors.values()), axis=1),
        confidence,
        method="effects",
    )


def emap(predictor: Any, X: Any, **options: Any) -> Decomposition:
    """Return the additive projection of a predictor: its effects of single modalities.

    `emap(...).sum()` is the closest prediction that combines no modalities (Hessel and Lee, 2020).

    Parameters
    ----------
    predictor, X
        As in :func:`modality_effects`.
    **options : Any
        Its other parameters, but `max_order`.

    Returns
    -------
    effects : Decomposition
        A term per modality.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.inspection import emap
    >>> X = {"audio": np.array([[-1.0], [1.0]]), "text": np.array([[0.0], [2.0]])}
    >>> emap(lambda X: X["audio"] * X["text"], X).sum().ravel()
    array([-1.,  1.])
    """
    return modality_effects(predictor, X, max_order=1, **options)


def _check_order(max_order: int | None, names: list[str]) -> int:
    if max_order is None and len(names) > MAX_MODALITIES:
        raise ValueError(
            f"{len(names)} modalities have {2 ** len(names) - 1} sets; say how large they may be, "
            "e.g. max_order=2."
        )
    if max_order is None:
        return len(names)
    if not isinstance(max_order, int | np.integer) or not 1 <= max_order <= len(names):
        raise ValueError(
            f"max_order must be between 1 and {len(names)}, the number of modalities; got "
            f"{max_order!r}."
        )
    return int(max_order)


def _effects(
    evaluate: Any, names: list[str], pool: Pool, max_order: int, method: str, how: Averaging
) -> PureEffects:
    cost = exact_cost(len(names), pool, max_order)
    if method == "exact" and cost > how.max_evaluations:
        raise ValueError(
            f"method='exact' needs {cost:,} predictions ({pool.n_rows:,} rows, "
            f"{len(pool.background):,} background rows, {len(names)} modalities), more than "
            f"max_evaluations={how.max_evaluations:,}. Use method='sampled', a smaller background, "
            "or raise max_evaluations."
        )
    # Nothing is gained by draws that cost more than all combinations.
    affordable = max(how.max_evaluations, sampled_cost(len(names), pool, max_order, how.n_draws))
    if method == "exact" or (method == "auto" and cost <= affordable):
        return exact_effects(evaluate, names, pool, max_order)
    return sampled_effects(
        evaluate, names, pool, max_order, n_draws=how.n_draws, random_state=how.generator()
    )
