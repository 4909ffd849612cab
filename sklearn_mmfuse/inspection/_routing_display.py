"""Pictures of routing: what each sample's terms were heard for, and what is so on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sklearn_mmfuse._routing_coefficients import RoutingCoefficients, check_quantity
from sklearn_mmfuse.inspection._heat_map import (
    CELL,
    add_colorbar,
    draw_cells,
    fit_side_by_side,
    label_axes,
    write_cells,
)
from sklearn_mmfuse.inspection._predictors import last_step
from sklearn_mmfuse.inspection._style import import_pyplot, pick_output, short_labels, width_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RoutingDisplay"]

FloatArray = NDArray[np.float64]
KINDS = ("global", "local")
MAX_SAMPLES = 8  # drawn without being asked for
NAME_LENGTH = 28
LABELS = {"p": "activation p", "r": "routing coefficient r", "pr": "p r"}
ABOVE, BELOW = "▲", "▽"


class RoutingDisplay:
    """Show where terms were routed, over all samples or for some of them.

    Make one with :meth:`from_estimator` or :meth:`from_coefficients`.

    Parameters
    ----------
    coefficients : RoutingCoefficients
        What `routing_coefficients` returned.
    concepts : array-like of shape (n_samples,), optional
        For each sample, the concept of the local picture: the class that was predicted.

    Attributes
    ----------
    coefficients, concepts : object
        What was given.
    ax_ : matplotlib Axes
        The axes last drawn on.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_mmfuse import RoutingCoefficients
    >>> from sklearn_mmfuse._terms import Term
    >>> from sklearn_mmfuse.inspection import RoutingDisplay
    >>> routed = RoutingCoefficients(np.full((9, 1), 0.5), np.full((9, 1, 2), [0.2, 0.8]),
    ...                              [Term(["audio"])], ["sad", "happy"])
    >>> display = RoutingDisplay(routed).plot(kind="local", samples=[0, 3], concept="happy")
    >>> [text.get_text() for text in display.ax_.texts]
    ['0.40', '0.40']
    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Any

    def __init__(
        self, coefficients: RoutingCoefficients, *, concepts: ArrayLike | None = None
    ) -> None:
        self.coefficients = coefficients
        self.concepts = concepts

    @classmethod
    def from_coefficients(
        cls,
        routed: RoutingCoefficients,
        *,
        concepts: ArrayLike | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> Self:
        """Draw what `routing_coefficients` returned.

        Parameters
        ----------
        routed : RoutingCoefficients
            How samples were routed.
        concepts : array-like of shape (n_samples,), optional
            For each sample, the concept of the local picture, say its true class.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : RoutingDisplay
            The display, drawn.
        """
        return cls(routed, concepts=concepts).plot(ax=ax, **plot_params)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        concepts: ArrayLike | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> Self:
        """Route the samples `X` and draw what became of them.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted routing estimator, or a pipeline that ends with one.
        X : MultimodalData, mapping, data frame or array
            What the estimator predicts from.
        concepts : array-like of shape (n_samples,), optional
            For each sample, the concept of the local picture, say its true class; by default the
            predicted class, or the label with the largest log-odds. A regression has no default.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : RoutingDisplay
            The display, drawn.
        """
        estimator, X = last_step(estimator, X)
        if not hasattr(estimator, "routing_coefficients"):
            raise TypeError(
                f"{type(estimator).__name__} routes nothing; pass a fitted RoutingClassifier or "
                "RoutingRegressor (of a search, its best_estimator_)."
            )
        routed = estimator.routing_coefficients(X)
        if concepts is None and hasattr(estimator, "decision_function"):
            raw = estimator.decision_function(X)
            chosen = (raw > 0).astype(np.intp) if raw.ndim == 1 else raw.argmax(axis=1)
            concepts = np.array(routed.concepts)[chosen]
        return cls(routed, concepts=concepts).plot(ax=ax, **plot_params)

    def plot(
        self,
        *,
        kind: str = "global",
        quantity: str | None = None,
        samples: ArrayLike | None = None,
        concept: Any = None,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        confidence: float = 0.95,
        ax: Any = None,
    ) -> Self:
        """Draw a table of means over the samples, or a strip of terms for each of some samples.

        Parameters
        ----------
        kind : {"global", "local"}, default="global"
            "global" has a row per term and a column per concept: the mean, its interval, and a mark
            where that is above (▲) or below (▽) uniform routing, as in Tables 3 to 7; see
            `RoutingCoefficients.summary`.
            "local" has a column per sample (Figure 3).
        quantity : {"p", "r", "pr"}, optional
            "r" by default in the global picture and "pr" in the local one.
        samples : list of int or mask, optional
            Rows of the local picture; by default the first 8.
        concept : str, optional
            The concept of the local picture, for all samples; that of each sample by default.
        groups : array-like of shape (n_samples,), optional
            The person each sample belongs to, for the intervals of the global picture.
        sample_weight : array-like of shape (n_samples,), optional
            What samples count in the global picture.
        confidence : float, default=0.95
            Level of these intervals.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : RoutingDisplay
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            When there is no such kind, quantity, sample or concept, or a concept must be named.
        ImportError
            When matplotlib is not installed.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}; got {kind!r}.")
        if not len(self.coefficients):
            raise ValueError("There are no samples to draw.")
        if kind == "global":
            _refuse(kind, samples=samples, concept=concept)
            table = self.coefficients.summary(
                groups=groups, sample_weight=sample_weight, confidence=confidence
            )
            over = "" if groups is None else " over groups"
            self._plot_global(
                table, check_quantity(quantity or "r"), f"{100 * confidence:g}% intervals{over}", ax
            )
        else:
            _refuse(kind, groups=groups, sample_weight=sample_weight)
            self._plot_local(check_quantity(quantity or "pr"), samples, concept, ax)
        return self

    def _plot_global(self, table: pd.DataFrame, quantity: str, intervals: str, ax: Any) -> None:
        concepts = ["p"] if quantity == "p" else list(self.coefficients.concepts)
        uniform = 1 / len(self.coefficients.concepts)
        shown, active = (table.xs(key, level="quantity") for key in (quantity, "p"))
        means = shown["mean"].to_numpy(dtype=np.float64).reshape(-1, len(concepts))
        # Where routing is uniform, p r is p / J, which differs by term.
        loud = (
            active["mean"].to_numpy(dtype=np.float64) if quantity == "pr" else np.ones(len(means))
        )
        texts, digits = {}, _digits(shown["high"] - shown["low"])
        for i, (_, row) in enumerate(shown.iterrows()):
            place = divmod(i, len(concepts))
            if np.isfinite(means[place]):
                texts[place] = _cell(row, loud[place[0]] * uniform, digits)
        vmax = 1.0 if quantity == "p" else float(np.nanmax(means, initial=uniform))
        label = f"mean {LABELS[quantity]}"
        self._draw(means, short_labels(concepts, NAME_LENGTH), texts, label, vmax, ax, tall=True)
        if quantity != "p":
            even = f"{uniform:.2g} = 1 / {len(concepts)}" if quantity == "r" else "mean p / J"
            self.ax_.set_title(
                f"{ABOVE} above, {BELOW} below {even}; {intervals}", loc="left", fontsize="small"
            )

    def _plot_local(self, quantity: str, samples: ArrayLike | None, concept: Any, ax: Any) -> None:
        rows = self._pick_samples(samples)
        values, names = getattr(self.coefficients, quantity)[rows], [str(row) for row in rows]
        label = LABELS[quantity]
        if quantity != "p":
            chosen = self._pick_concepts(rows, concept)
            values = values[np.arange(len(rows)), :, chosen]
            shown = short_labels([self.coefficients.concepts[i] for i in chosen], NAME_LENGTH)
            names = [f"{row}\n{name}" for row, name in zip(names, shown, strict=True)]
            label += " of the concept below"
        texts = {
            (row, column): f"{values[column, row]:.2f}"
            for column, row in np.argwhere(np.isfinite(values))
        }
        vmax = 1.0 if quantity == "p" else float(np.nanmax(values, initial=0.0)) or 1.0
        self._draw(values.T, names, texts, label, vmax, ax, tall=False)
        self.ax_.set_xlabel("sample")

    def _pick_samples(self, samples: ArrayLike | None) -> list[int]:
        n = len(self.coefficients)
        rows = np.arange(min(n, MAX_SAMPLES)) if samples is None else np.atleast_1d(samples)
        if rows.dtype == bool and rows.shape == (n,):
            rows = np.flatnonzero(rows)
        whole = rows.ndim == 1 and rows.dtype.kind in "iu" and len(rows) > 0
        if not whole or rows.min() < 0 or rows.max() >= n:
            raise ValueError(f"samples must be rows between 0 and {n - 1}; got {samples!r}.")
        return [int(row) for row in rows]

    def _pick_concepts(self, rows: list[int], concept: Any) -> list[int]:
        known = self.coefficients.concepts
        if concept is not None:
            return [_find(concept, known)] * len(rows)
        if self.concepts is None:
            raise ValueError(f"Say which concept to draw, by concept=, one of {list(known)}.")
        several = np.asarray(self.concepts)
        if several.shape != (len(self.coefficients),):
            raise ValueError(
                f"concepts must name one for each of the {len(self.coefficients)} samples; got "
                f"shape {several.shape}."
            )
        return [_find(several[row], known) for row in rows]

    def _draw(
        self,
        values: FloatArray,
        columns: list[str],
        texts: dict[tuple[int, int], str],
        label: str,
        vmax: float,
        ax: Any,
        *,
        tall: bool,
    ) -> None:
        terms = short_labels([str(term) for term in self.coefficients.terms], NAME_LENGTH)
        if ax is None:
            ax = _new_axes(terms, columns, tall)
        self.ax_, self.figure_ = ax, ax.figure
        mesh = draw_cells(ax, values, vmax=vmax, shown=np.ones(values.shape, dtype=bool))
        write_cells(ax, mesh, values, texts)
        label_axes(ax, terms, columns)
        add_colorbar(ax, mesh, label)


def _refuse(kind: str, **unused: Any) -> None:
    """Refuse what only the other kind of picture looks at."""
    if given := [name for name, value in unused.items() if value is not None]:
        raise ValueError(f"kind={kind!r} does not look at {' and '.join(given)}; leave that out.")


def _find(concept: Any, known: Sequence[str]) -> int:
    """Return the position of a concept's name; a class may be given as it is, say `2` or `2.0`."""
    if isinstance(concept, float | np.floating) and float(concept).is_integer():
        concept = int(concept) if str(concept) not in known else concept
    return pick_output(concept, known, "concept")


def _digits(widths: pd.Series[Any]) -> int:
    """Return how many decimals tell the ends of most intervals apart, 2 to 4."""
    width = float(widths.median(skipna=True))
    return int(np.clip(np.ceil(-np.log10(width)), 2, 4)) if width > 0 else 2


def _cell(row: pd.Series[Any], uniform: float, digits: int) -> str:
    """Return a mean, its interval, and on which side of uniform routing it is."""
    mark = ""
    if row["excludes_uniform"] is not pd.NA and row["excludes_uniform"]:
        mark = f" {ABOVE if row['mean'] > uniform else BELOW}"
    interval = (
        "" if np.isnan(row["low"]) else f"\n{row['low']:.{digits}f} to {row['high']:.{digits}f}"
    )
    return f"{row['mean']:.{digits}f}{mark}{interval}"


def _new_axes(terms: list[str], columns: list[str], tall: bool) -> Axes:
    cell_width, cell_height = (1.15, 0.55) if tall else CELL
    slanted = 0.0
    if not fit_side_by_side(columns, cell_width):
        slanted = 0.055 * max(len(column) for column in columns)
    size = (
        width_for(terms, 1.6 + cell_width * max(len(columns), 2)),
        max(1.4 + cell_height * len(terms) + slanted, 2.8),
    )
    _, ax = import_pyplot().subplots(figsize=size, layout="constrained")
    new: Axes = ax
    return new
