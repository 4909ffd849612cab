"""The one explanation object: which term contributed how much to which prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial
from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from sklearn_mmfuse import _decomposition_exports as exports
from sklearn_mmfuse._intervals import bootstrap_interval, check_confidence
from sklearn_mmfuse._links import LINKS
from sklearn_mmfuse._terms import SEPARATOR, Term

__all__ = ["Decomposition"]

FloatArray = NDArray[np.float64]
TermLike = str | Sequence[str] | Term
Terms = TermLike | Iterable[TermLike]

METHODS = ("terms", "effects")

# A Shapley value looks at every subset of modalities.
MAX_SHAPLEY = 12


@dataclass(frozen=True, repr=False, eq=False)
class Decomposition:
    """A prediction as a sum: one addend per term, and a bias.

    `values.sum(axis=1) + bias` is the raw prediction: the prediction itself in regression (in the
    units of `y`), the log-odds of the second class in binary and one logit per class in multiclass
    classification, the log-odds of every label with several labels.

    `parts["audio × text"]` are the contributions of one term, `(n_samples, n_outputs)`;
    `parts[rows]` is the decomposition of some rows.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_terms, n_outputs)
        The contribution of each term.
    bias : ndarray of shape (n_outputs,) or (n_samples, n_outputs)
        What is predicted before any modality is read; one per row when the rows come from several
        models.
    terms : sequence of Term
        The addends; `str(term)` is `"audio × text"`.
    link : {"identity", "logit", "sigmoid", "softmax"}
        What turns the raw prediction into the reported one.
    outputs : sequence of str
        One name per raw output: the classes, the labels, or the target.
    standard_errors : ndarray of shape (n_samples, n_terms, n_outputs), optional
        Of the values, where these were estimated.
    confidence : float, default=0.95
        The level of `interval()`.
    absent : ndarray of shape (n_samples, n_terms), optional
        True where a row lacks a modality that the term reads: its contribution is zero there, and
        `to_frame` shows it as NaN.
    method : {"terms", "effects"}, default="terms"
        What the values are: the addends of a net, or the pure effects of sets of modalities on a
        prediction, whatever the net.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse import Decomposition
    >>> from sklearn_mmfuse._terms import Term
    >>> parts = Decomposition(np.array([[[1.0], [0.5]], [[3.0], [-0.5]]]), np.array([10.0]),
    ...                       [Term(["audio"]), Term(["text", "audio"])], "identity", ["y"])
    >>> parts
    <Decomposition of 2 samples: audio, audio × text>
    >>> parts.sum().ravel()
    array([11.5, 12.5])
    >>> parts.to_frame()
       audio  audio × text  bias
    0    1.0           0.5  10.0
    1    3.0          -0.5  10.0
    >>> parts["text × audio"].ravel()
    array([ 0.5, -0.5])
    >>> parts.by_modality().to_frame()
       audio  text  bias
    0   1.25  0.25  10.0
    1   2.75 -0.25  10.0
    """

    values: FloatArray
    bias: FloatArray
    terms: tuple[Term, ...]
    link: str
    outputs: tuple[str, ...]
    standard_errors: FloatArray | None
    confidence: float
    absent: NDArray[np.bool_] | None
    method: str

    def __init__(
        self,
        values: ArrayLike,
        bias: ArrayLike,
        terms: Sequence[Term],
        link: str,
        outputs: Sequence[Any],
        standard_errors: ArrayLike | None = None,
        confidence: float = 0.95,
        absent: ArrayLike | None = None,
        method: str = "terms",
    ) -> None:
        values, bias = np.asarray(values, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        errors = None if standard_errors is None else np.asarray(standard_errors, dtype=np.float64)
        _check_shapes(values, bias, errors, len(terms), len(outputs))
        if link not in LINKS:
            raise ValueError(f"link must be one of {sorted(LINKS)}; got {link!r}.")
        if method not in METHODS:
            raise ValueError(f"method must be one of {list(METHODS)}; got {method!r}.")
        check_confidence(confidence)
        for name, value in (
            ("values", values),
            ("bias", bias),
            ("terms", tuple(terms)),
            ("link", link),
            ("outputs", tuple(str(output) for output in outputs)),
            ("standard_errors", errors),
            ("confidence", float(confidence)),
            ("absent", None if absent is None else np.asarray(absent, dtype=np.bool_)),
            ("method", method),
        ):
            object.__setattr__(self, name, value)

    # Looking at it -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return exports.to_text(self)

    def _repr_html_(self) -> str:
        return exports.to_html(self)

    @property
    def biases(self) -> FloatArray:
        """The bias of each row, `(n_samples, n_outputs)`."""
        return np.broadcast_to(self.bias, (len(self), len(self.outputs)))

    def sum(self) -> FloatArray:
        """Return the raw prediction, `(n_samples, n_outputs)`."""
        total: FloatArray = self.values.sum(axis=1) + self.bias
        return total

    def predict(self) -> FloatArray:
        """Return the prediction on its reported scale: class probabilities, or the target."""
        return np.asarray(LINKS[self.link].inverse(self.sum()), dtype=np.float64)

    def by_order(self) -> dict[int, FloatArray]:
        """Return, for each order, the sum of its terms, `(n_samples, n_outputs)`; no bias.

        Absent contributions count as zero.
        """
        orders = np.array([term.order for term in self.terms])
        return {
            int(order): self.values[:, orders == order].sum(axis=1) for order in np.unique(orders)
        }

    def interval(self, confidence: float | None = None) -> FloatArray:
        """Return the lower and upper ends of normal intervals, `(n, n_terms, n_outputs, 2)`.

        Parameters
        ----------
        confidence : float, optional
            The level; `self.confidence` by default.

        Raises
        ------
        ValueError
            When the values are exact, which have no standard errors.
        """
        if self.standard_errors is None:
            raise ValueError(
                "These contributions are exact: there are no standard errors to make intervals of."
            )
        level = self.confidence if confidence is None else confidence
        check_confidence(level)
        reach = norm.ppf(0.5 + level / 2) * self.standard_errors
        return np.stack([self.values - reach, self.values + reach], axis=-1)

    # Picking parts of it -------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: TermLike) -> FloatArray: ...

    @overload
    def __getitem__(self, key: Any) -> Decomposition: ...

    def __getitem__(self, key: Any) -> FloatArray | Decomposition:
        if _names_a_term(key):
            return self.values[:, self._position(key)]
        rows: Any = [key] if isinstance(key, int | np.integer) else key
        return replace(
            self,
            values=self.values[rows],
            bias=self.bias if self.bias.ndim == 1 else self.bias[rows],
            standard_errors=None if self.standard_errors is None else self.standard_errors[rows],
            absent=None if self.absent is None else self.absent[rows],
        )

    def select(self, terms: Terms) -> Decomposition:
        """Return the decomposition with these terms alone; the others contribute nothing.

        Parameters
        ----------
        terms : term or list of terms
            Each a `Term`, its name, or its modalities: `"audio × text"`, `("audio", "text")`.
        """
        return self._take(self._positions(terms))

    def drop(self, terms: Terms) -> Decomposition:
        """Return the decomposition without these terms.

        Parameters
        ----------
        terms : term or list of terms
            As in `select`.
        """
        dropped = set(self._positions(terms))
        return self._take([i for i in range(len(self.terms)) if i not in dropped])

    def interactions(self) -> list[Term]:
        """Return the terms that read several modalities."""
        return [term for term in self.terms if term.order > 1]

    def _take(self, positions: list[int]) -> Decomposition:
        errors = self.standard_errors
        return replace(
            self,
            values=self.values[:, positions],
            terms=tuple(self.terms[i] for i in positions),
            standard_errors=None if errors is None else errors[:, positions],
            absent=None if self.absent is None else self.absent[:, positions],
        )

    def _positions(self, terms: Any) -> list[int]:
        several = [terms] if _names_one_term(terms, self.terms) else list(terms)
        return [self._position(term) for term in several]

    def _position(self, key: TermLike) -> int:
        label = str(key) if isinstance(key, str | Term) else SEPARATOR.join(key)
        names = [str(term) for term in self.terms]
        ordered = SEPARATOR.join(sorted(label.split(SEPARATOR)))
        for candidate in (label, ordered):
            if candidate in names:
                return names.index(candidate)
        raise KeyError(f"There is no term {label!r}, only {', '.join(names)}.")

    @classmethod
    def concat(cls, parts: Iterable[Decomposition]) -> Decomposition:
        """Return the rows of all parts, one below the other: say, the test folds of several models.

        Parameters
        ----------
        parts : iterable of Decomposition
            With the same terms, outputs and link; biases may differ.
        """
        several = list(parts)
        if not several:
            raise ValueError("There is nothing to concatenate.")
        first = several[0]
        for part in several[1:]:
            if _kind(part) != _kind(first):
                raise ValueError(
                    f"{part!r} has other terms, outputs, link or method than {first!r}."
                )
        one = all(np.array_equal(part.bias, several[0].bias) for part in several)
        one = one and first.bias.ndim == 1
        errors = [
            np.zeros_like(part.values) if part.standard_errors is None else part.standard_errors
            for part in several
        ]
        exact = all(part.standard_errors is None for part in several)
        return replace(
            first,
            values=np.concatenate([part.values for part in several]),
            bias=first.bias if one else np.concatenate([part.biases for part in several]),
            standard_errors=None if exact else np.concatenate(errors),
            absent=_concat_absent(several),
        )

    # Summing it up -------------------------------------------------------------------------------

    def center(self, sample_weight: ArrayLike | None = None) -> Decomposition:
        """Give every term mean zero over these samples and move the means into the bias.

        The sum does not change. Estimators return contributions centered over their training rows.
        """
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if self.absent is not None:
            return self._center_present(np.ones(len(self)) if weights is None else weights)
        means = np.average(self.values, axis=0, weights=weights)
        return replace(self, values=self.values - means, bias=self.bias + means.sum(axis=0))

    def _center_present(self, weights: FloatArray) -> Decomposition:
        """Center every term over the rows that have it; what is absent stays zero."""
        there = ~np.asarray(self.absent)[:, :, np.newaxis]
        total = (weights[:, np.newaxis, np.newaxis] * there).sum(axis=0)
        weighted = np.einsum("n,ntc->tc", weights, self.values * there)
        means = weighted / np.where(total > 0, total, 1.0) * there
        return replace(self, values=self.values - means, bias=self.biases + means.sum(axis=1))

    def by_modality(self, rule: str = "equal") -> Decomposition:
        """Divide interactions among their modalities: one addend per modality is left.

        Parameters
        ----------
        rule : {"equal", "shapley"}, default="equal"
            "equal" gives each modality of a term the same share, which is the Shapley value of the
            raw prediction when terms are removed. "shapley" is the Shapley value of the *reported*
            prediction: its addends add up to the predicted probabilities. Without a link function
            both are the same.

        Returns
        -------
        parts : Decomposition
            A term per modality; without standard errors.
        """
        if rule not in ("equal", "shapley"):
            raise ValueError(f"rule must be 'equal' or 'shapley'; got {rule!r}.")
        names = list(dict.fromkeys(name for term in self.terms for name in term.modalities))
        if not names:
            raise ValueError("There are no terms to divide among modalities.")
        if rule == "equal" or self.link == "identity":
            share = np.array([[(n in t.modalities) / t.order for t in self.terms] for n in names])
            values, bias, link = np.einsum("mt,ntc->nmc", share, self.values), self.bias, self.link
            outputs = self.outputs
        else:
            values, bias = self._shapley(names)
            link, outputs = "identity", self.outputs
        terms = [Term([name]) for name in names]
        return Decomposition(
            values,
            bias,
            terms,
            link,
            outputs,
            confidence=self.confidence,
            method=self.method,
            absent=self._absent_modalities(names),
        )

    def _absent_modalities(self, names: Sequence[str]) -> NDArray[np.bool_] | None:
        """Return which modalities `(n, M)` no term is there to speak of, where some are absent."""
        if self.absent is None:
            return None
        reads = np.array([[name in term.modalities for term in self.terms] for name in names])
        there: NDArray[np.bool_] = np.einsum("mt,nt->nm", reads, ~self.absent)
        return ~there

    def _shapley(self, names: list[str]) -> tuple[FloatArray, FloatArray]:
        """Return the Shapley values of the reported prediction, and that of no modality."""
        if len(names) > MAX_SHAPLEY:
            raise ValueError(
                f"Shapley values look at every subset of modalities; {len(names)} have "
                f"{2 ** len(names)}, and at most {MAX_SHAPLEY} modalities are taken. Use "
                "rule='equal'."
            )
        worth = {}
        for size in range(len(names) + 1):
            for present in combinations(names, size):
                kept = [i for i, t in enumerate(self.terms) if set(t.modalities) <= set(present)]
                # Of two classes the second, whose log-odds the terms add up to.
                worth[frozenset(present)] = self._take(kept).predict()[:, -len(self.outputs) :]
        total = factorial(len(names))
        values = []
        for name in names:
            value = np.zeros_like(worth[frozenset()])
            for without in (present for present in worth if name not in present):
                orders = factorial(len(without)) * factorial(len(names) - len(without) - 1)
                value += orders / total * (worth[without | {name}] - worth[without])
            values.append(value)
        return np.stack(values, axis=1), worth[frozenset()]

    def shares(
        self,
        *,
        confidence: float | None = None,
        n_bootstrap: int = 1000,
        groups: ArrayLike | None = None,
        random_state: int | None = 0,
    ) -> pd.DataFrame:
        """Return the share of each term in the variance of their sum, with intervals.

        The share is cov(term, sum of terms) / var(sum of terms): shares add up to 1, and one is
        negative when a term works against the others. Intervals are percentiles of a bootstrap.

        Parameters
        ----------
        confidence : float, optional
            Level of the intervals; `self.confidence` by default.
        n_bootstrap : int, default=1000
            Replicates; 0 leaves the intervals out.
        groups : array-like of shape (n_samples,), optional
            Whole groups are drawn: the persons that rows belong to.
        random_state : int or None, default=0
            Seeds the bootstrap.

        Returns
        -------
        shares : DataFrame
            A row per term, or per (output, term); columns `share`, `low`, `high`.
        """
        if len(self) < 2:
            raise ValueError(f"A variance needs at least 2 samples; got {len(self)}.")
        level = self.confidence if confidence is None else confidence
        everyone = np.full((1, len(self)), 1 / len(self))
        columns = {"share": self._shares(everyone)[0]}
        if n_bootstrap:
            interval = bootstrap_interval(
                self._shares,
                len(self),
                n_bootstrap=n_bootstrap,
                confidence=level,
                groups=groups,
                random_state=random_state,
            )
            columns |= {"low": interval[..., 0], "high": interval[..., 1]}
        terms = [str(term) for term in self.terms]
        index = pd.Index(terms, name="term")
        if len(self.outputs) > 1:
            index = pd.MultiIndex.from_product([self.outputs, terms], names=["output", "term"])
        return pd.DataFrame({name: value.T.ravel() for name, value in columns.items()}, index=index)

    def _shares(self, weights: FloatArray) -> FloatArray:
        """Return shares `(replicates, terms, outputs)` under row weights that add up to 1."""
        values = self.values - self.values.mean(axis=0)  # exact moments need small numbers
        raw = values.sum(axis=1, keepdims=True)
        mean, raw_mean = (np.einsum("bn,ntc->btc", weights, x) for x in (values, raw))
        product = np.einsum("bn,ntc->btc", weights, values * raw)
        variance = np.einsum("bn,ntc->btc", weights, raw**2) - raw_mean**2
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (product - mean * raw_mean) / variance
        # Terms that cancel leave a variance of rounding alone.
        smallest = 1e-12 * values.var(axis=0).sum(axis=0)
        return np.where(variance > smallest, share, np.nan)

    def change_without(self, terms: Terms | None = None) -> FloatArray:
        """Return how much the reported prediction changes when terms are removed.

        The sum over classes of |P with all terms - P without these| (section 7 of Woertwein et
        al., 2022); in regression |change|.

        Parameters
        ----------
        terms : term or list of terms, optional
            What to remove; every interaction by default.

        Returns
        -------
        change : ndarray of shape (n_samples,)
            Not negative.
        """
        without = self.drop(self.interactions() if terms is None else terms)
        change: FloatArray = np.abs(self.predict() - without.predict()).sum(axis=1)
        return change

    # Handing it on -------------------------------------------------------------------------------

    def to_frame(self, index: Any = None) -> pd.DataFrame:
        """Return a row per sample and a column per term, and one for the bias; rows add up.

        With several outputs the columns have two levels, `(output, term)`.
        """
        return exports.to_frame(self, index)

    def to_shap(self, data: Any = None) -> Any:
        """Return a `shap.Explanation`, for shap's plots.

        Parameters
        ----------
        data : array-like of shape (n_samples, n_terms), optional
            What shap's plots are to show as the "values" of the terms.

        Raises
        ------
        ImportError
            When shap is not installed.
        """
        return exports.to_shap(self, data)


def _check_shapes(
    values: FloatArray, bias: FloatArray, errors: FloatArray | None, n_terms: int, n_outputs: int
) -> None:
    fits = values.ndim == 3 and values.shape[1:] == (n_terms, n_outputs)
    if not fits or bias.shape not in ((n_outputs,), (len(values), n_outputs)):
        raise ValueError(
            f"A decomposition into {n_terms} terms and {n_outputs} outputs needs values of shape "
            f"(n_samples, {n_terms}, {n_outputs}) and a bias of shape ({n_outputs},) or one per "
            f"row; got {values.shape} and {bias.shape}."
        )
    if errors is not None and errors.shape != values.shape:
        raise ValueError(
            f"standard_errors must have the shape of values, {values.shape}; got {errors.shape}."
        )


def _concat_absent(parts: Sequence[Decomposition]) -> NDArray[np.bool_] | None:
    if all(part.absent is None for part in parts):
        return None
    return np.concatenate(
        [
            np.zeros(part.values.shape[:2], dtype=bool) if part.absent is None else part.absent
            for part in parts
        ]
    )


def _names_a_term(key: Any) -> bool:
    if isinstance(key, str | Term):
        return True
    return isinstance(key, tuple) and bool(key) and all(isinstance(name, str) for name in key)


def _names_one_term(key: Any, terms: Sequence[Term]) -> bool:
    """Whether `key` is one term: of `("audio", "text")`, the modalities of a term count."""
    if not isinstance(key, tuple) or not _names_a_term(key):
        return isinstance(key, str | Term)
    return tuple(sorted(key)) in [term.modalities for term in terms]


def _kind(parts: Decomposition) -> tuple[Any, ...]:
    return parts.terms, parts.outputs, parts.link, parts.method
