"""What a routing model did with each term of each sample, and on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sklearn_mmfuse._intervals import mean_interval
from sklearn_mmfuse._terms import Term

__all__ = ["QUANTITIES", "RoutingCoefficients"]

FloatArray = NDArray[np.float64]

QUANTITIES = ("p", "r", "pr")
ROUNDING = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class RoutingCoefficients:
    """How active every term was, and to which concepts it was routed.

    `coefficients[rows]` are those of some rows. A term that reads an absent modality has NaN.

    Parameters
    ----------
    p : ndarray of shape (n_samples, n_terms)
        Activations, between 0 and 1.
    r : ndarray of shape (n_samples, n_terms, n_concepts)
        Routing coefficients; those of a term add up to 1 over the concepts.
    terms : sequence of Term
        The terms.
    concepts : sequence of str
        The concepts: classes, labels, or the latent concepts of a regression.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse import RoutingCoefficients
    >>> from sklearn_mmfuse._terms import Term
    >>> routed = RoutingCoefficients(np.array([[0.5], [1.0]]), np.array([[[0.2, 0.8]], [[1, 0]]]),
    ...                              [Term(["audio"])], ["sad", "happy"])
    >>> routed.pr[:, 0]
    array([[0.1, 0.4],
           [1. , 0. ]])
    >>> float(routed.summary().loc[("r", "audio", "sad"), "mean"])
    0.6
    """

    p: FloatArray
    r: FloatArray
    terms: tuple[Term, ...]
    concepts: tuple[str, ...]

    def __init__(
        self, p: ArrayLike, r: ArrayLike, terms: Sequence[Term], concepts: Sequence[Any]
    ) -> None:
        p, r = np.asarray(p, dtype=np.float64), np.asarray(r, dtype=np.float64)
        n_terms, n_concepts = len(terms), len(concepts)
        if r.ndim != 3 or r.shape[1:] != (n_terms, n_concepts) or p.shape != r.shape[:2]:
            raise ValueError(
                f"{n_terms} terms and {n_concepts} concepts need p of shape (n_samples, {n_terms}) "
                f"and r of shape (n_samples, {n_terms}, {n_concepts}); got {p.shape} and {r.shape}."
            )
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "r", r)
        object.__setattr__(self, "terms", tuple(terms))
        object.__setattr__(self, "concepts", tuple(str(concept) for concept in concepts))

    def __len__(self) -> int:
        return len(self.p)

    def __repr__(self) -> str:
        return (
            f"<RoutingCoefficients of {len(self)} samples: {len(self.terms)} terms, "
            f"{len(self.concepts)} concepts>"
        )

    def __getitem__(self, rows: Any) -> RoutingCoefficients:
        rows = [rows] if isinstance(rows, int | np.integer) else rows
        return replace(self, p=self.p[rows], r=self.r[rows])

    @property
    def pr(self) -> FloatArray:
        """Their product, `(n_samples, n_terms, n_concepts)`: how loud a term is for a concept."""
        product: FloatArray = self.p[:, :, np.newaxis] * self.r
        return product

    def to_frame(self, quantity: str = "pr", index: Any = None) -> pd.DataFrame:
        """Return a row per sample.

        Parameters
        ----------
        quantity : {"p", "r", "pr"}, default="pr"
            Columns are terms for "p", and `(concept, term)` otherwise.
        index : array-like, optional
            Labels of the rows.
        """
        names = [str(term) for term in self.terms]
        if check_quantity(quantity) == "p":
            return pd.DataFrame(self.p, columns=pd.Index(names, name="term"), index=index)
        columns = pd.MultiIndex.from_product([self.concepts, names], names=["concept", "term"])
        values = getattr(self, quantity).transpose(0, 2, 1).reshape(len(self), -1)
        return pd.DataFrame(values, columns=columns, index=index)

    def summary(
        self,
        *,
        confidence: float = 0.95,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> pd.DataFrame:
        """Return means over the samples, with intervals by the central limit theorem (eq. 4).

        Intervals are about these samples: how a model trained anew would route is not in them, and
        with many samples the smallest excess is significant; look at its size. A term that speaks
        for one class is routed elsewhere in samples of others: for a class, summarize its samples,
        `routed[y == "sad"].summary(groups=person[y == "sad"])`.

        Parameters
        ----------
        confidence : float, default=0.95
            The level.
        sample_weight : array-like of shape (n_samples,), optional
            What samples count.
        groups : array-like of shape (n_samples,), optional
            The person each sample belongs to: samples of one person are not independent, and
            intervals that take them for such are too narrow.

        Returns
        -------
        summary : DataFrame
            A row per `(quantity, term, concept)`; columns `mean`, `low`, `high` and
            `excludes_uniform`, whether the interval is on one side of uniform routing: of
            1 / n_concepts for "r", of p / n_concepts for "pr" (against 1 / n_concepts, it would
            only tell that p is less than 1). Activations "p" belong to no concept, and are
            compared with nothing. NaN where fewer than two samples (or persons) have a term.

        Raises
        ------
        ValueError
            When there are no samples, or weights or groups do not fit them.
        """
        if not len(self):
            raise ValueError("There are no samples to summarize.")
        weight = None if sample_weight is None else _check_weight(sample_weight, len(self))

        def about(values: FloatArray) -> tuple[FloatArray, FloatArray]:
            return mean_interval(values, confidence=confidence, weight=weight, groups=groups)

        excess = self.r - 1.0 / len(self.concepts)  # over uniform routing
        loud = self.p[:, :, np.newaxis]
        table = pd.concat(
            [
                _table(*about(loud), None),
                _table(*about(self.r), about(excess)[1]),
                _table(*about(self.pr), about(loud * excess)[1]),
            ]
        )
        table.index = self._index()
        return table

    def _index(self) -> pd.MultiIndex:
        """Return `(quantity, term, concept)`, in an order that pandas takes for sorted."""
        terms = [str(term) for term in self.terms]
        rows = [("p", term, "") for term in terms]
        rows += list(product(("r", "pr"), terms, self.concepts))
        known = (QUANTITIES, terms, list(dict.fromkeys(["", *self.concepts])))
        columns = [
            pd.Categorical(column, categories=list(categories), ordered=True)
            for column, categories in zip(zip(*rows, strict=True), known, strict=True)
        ]
        return pd.MultiIndex.from_arrays(columns, names=["quantity", "term", "concept"])


def _table(mean: FloatArray, interval: FloatArray, excess: FloatArray | None) -> pd.DataFrame:
    """Return a table of means; `excess` is the interval of what exceeds uniform routing."""
    low, high = (end.ravel().clip(0.0, 1.0) for end in np.moveaxis(interval, -1, 0))
    excess = np.full_like(interval, np.nan) if excess is None else excess
    below, above = (end.ravel() for end in np.moveaxis(excess, -1, 0))
    excludes = pd.array((below > ROUNDING) | (above < -ROUNDING), dtype="boolean")
    excludes[np.isnan(below)] = pd.NA
    return pd.DataFrame(
        {"mean": mean.ravel(), "low": low, "high": high, "excludes_uniform": excludes}
    )


def _check_weight(sample_weight: ArrayLike, n_samples: int) -> FloatArray:
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,) or not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
        raise ValueError(
            f"sample_weight must hold a number >= 0 for each of the {n_samples} samples, and not "
            f"zeros alone; got shape {weight.shape}, smallest {weight.min(initial=np.inf):g}."
        )
    return weight


def check_quantity(quantity: str) -> str:
    """Refuse what is neither p, r nor their product."""
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity must be one of {list(QUANTITIES)}; got {quantity!r}.")
    return quantity
