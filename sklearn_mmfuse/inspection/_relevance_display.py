"""A picture of what matters overall: the relevance of each term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._intervals import bootstrap_interval
from sklearn_mmfuse._terms import SEPARATOR
from sklearn_mmfuse.inspection._style import (
    GRAY,
    PALETTE,
    check_count,
    import_pyplot,
    lighten,
    mean_label,
    others,
    pick_output,
    short_labels,
    shorten,
    split_terms,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RelevanceDisplay"]

FloatArray = NDArray[np.float64]
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MAX_COLUMNS = 4


class RelevanceDisplay:
    """Show the relevance of each term as a bar, colored by the order of the interaction.

    Parameters
    ----------
    relevance : Series or DataFrame
        One relevance per term, indexed by term; as a frame, one column per output.
    interval : array-like of shape (n_terms, 2) or (n_terms, n_outputs, 2), optional
        Lower and upper ends of intervals, drawn as error bars; NaN for none.
    orders : array-like of shape (n_terms,), optional
        How many modalities each term reads; by default one more than it has " × ".
    label : str, default="relevance"
        What the bars' lengths are.

    Attributes
    ----------
    relevance, interval, orders, label : object
        What was given.
    ax_ : matplotlib Axes or ndarray of Axes
        The axes last drawn on; an array when there is a panel per output.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from sklearn_mmfuse.inspection import RelevanceDisplay
    >>> relevance = pd.Series({"text": 0.7, "audio": 0.1, "audio × text": 0.2})
    >>> display = RelevanceDisplay(relevance).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['text', 'audio × text', 'audio']
    >>> plt.close(display.figure_)
    """

    ax_: Any
    figure_: Any

    def __init__(
        self,
        relevance: pd.Series[float] | pd.DataFrame,
        *,
        interval: ArrayLike | None = None,
        orders: ArrayLike | None = None,
        label: str = "relevance",
    ) -> None:
        self.relevance = relevance
        self.interval = interval
        self.orders = orders
        self.label = label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        interval: ArrayLike | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> Self:
        """Draw the relevance scores of a fitted estimator.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted estimator with `relevance_scores_`, a pipeline that ends with one, or a search
            over either.
        interval : array-like of shape (n_terms, 2), optional
            Lower and upper ends of intervals, in the order of the scores; by default the
            estimator's `relevance_interval_`, where it has some (InTense).
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : RelevanceDisplay
            The display, drawn.
        """
        while isinstance(estimator, Pipeline) or hasattr(estimator, "best_estimator_"):
            is_pipeline = isinstance(estimator, Pipeline)
            estimator = estimator[-1] if is_pipeline else estimator.best_estimator_
        if not hasattr(estimator, "decompose") and not hasattr(estimator, "relevance_scores_"):
            raise TypeError(
                f"{type(estimator).__name__} has no relevance scores; draw the effects of any "
                "predictor with EffectsDisplay, or compute them with modality_effects."
            )
        check_is_fitted(estimator, "relevance_scores_")
        scores = estimator.relevance_scores_
        known = {str(term): term.order for term in getattr(estimator, "terms_", ())}
        orders = [known.get(str(name), _count_modalities(name)) for name in scores.index]
        if interval is None and hasattr(estimator, "relevance_interval_"):
            interval = estimator.relevance_interval_.loc[scores.index].to_numpy()
        return cls(scores, interval=interval, orders=orders).plot(ax=ax, **plot_params)

    @classmethod
    def from_decomposition(
        cls,
        parts: Decomposition,
        *,
        interval: ArrayLike | str | None = "bootstrap",
        confidence: float | None = None,
        n_bootstrap: int = 1000,
        groups: ArrayLike | None = None,
        random_state: int | None = 0,
        ax: Any = None,
        **plot_params: Any,
    ) -> Self:
        """Draw the mean absolute contribution of each term, centered over these samples.

        Parameters
        ----------
        parts : Decomposition
            What an estimator's `decompose` returned.
        interval : "bootstrap", None or array-like, default="bootstrap"
            Intervals over samples, none, or lower and upper ends of shape (n_terms, 2) or
            (n_terms, n_outputs, 2), in the order of `parts.terms`.
        confidence : float, optional
            Level of bootstrap intervals; `parts.confidence` by default.
        n_bootstrap : int, default=1000
            Replicates.
        groups : array-like of shape (n_samples,), optional
            Whole groups are drawn: the persons that rows belong to.
        random_state : int or None, default=0
            Seeds the bootstrap.
        ax : matplotlib Axes or array of Axes, optional
            Where to draw, one for each output; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : RelevanceDisplay
            The display, drawn.
        """
        if len(parts) == 0:
            raise ValueError("The decomposition has no samples to average.")
        values = parts.center().values
        if isinstance(interval, str):
            if interval != "bootstrap":
                raise ValueError(
                    f"interval must be 'bootstrap', None or an array; got {interval!r}."
                )
            check_count("n_bootstrap", n_bootstrap)
            interval = (
                None
                if len(parts) == 1
                else bootstrap_interval(
                    lambda weights: _weighted_sizes(weights, values),
                    len(parts),
                    n_bootstrap=n_bootstrap,
                    confidence=parts.confidence if confidence is None else confidence,
                    groups=groups,
                    random_state=random_state,
                )
            )
        size = pd.DataFrame(
            np.abs(values).mean(axis=0),
            index=pd.Index([str(term) for term in parts.terms], name="term"),
            columns=list(parts.outputs),
        )
        single = len(parts.outputs) == 1
        display = cls(
            size.iloc[:, 0] if single else size,
            interval=interval,
            orders=[term.order for term in parts.terms],
            label=mean_label(parts, 0 if single else None),
        )
        return display.plot(ax=ax, **plot_params)

    def plot(self, *, output: Any = None, max_terms: int = 12, ax: Any = None) -> Self:
        """Draw sorted bars, in one panel per output.

        All panels show the same terms in the same order, that of the mean over the outputs.

        Parameters
        ----------
        output : str, optional
            Draw the panel of this output only.
        max_terms : int, default=12
            Show so many of the largest terms; the others are added up and drawn as one.
        ax : matplotlib Axes or array of Axes, optional
            Where to draw, one for each panel; a new figure by default.

        Returns
        -------
        self : RelevanceDisplay
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            When there is no such output, or shapes or the number of axes do not fit.
        ImportError
            When matplotlib is not installed.
        """
        check_count("max_terms", max_terms)
        table, interval, orders = self._checked()
        if output is not None:
            column = pick_output(output, [str(name) for name in table.columns])
            table, interval = table.iloc[:, [column]], interval[:, [column]]
        values = table.to_numpy(dtype=np.float64)
        kept, rest = split_terms(np.abs(values).mean(axis=1), max_terms)
        names = [str(table.index[i]) for i in kept]
        labels = short_labels(names) + ([f"{others(len(rest))}, summed"] if len(rest) else [])
        axes, created = self._set_axes(ax, values.shape[1], labels)
        colors = [_color(orders[i]) for i in kept] + ([GRAY] if len(rest) else [])
        for panel, column_axes in enumerate(axes):
            shown = values[kept, panel]
            if len(rest):
                shown = np.append(shown, values[rest, panel].sum())
            _draw_panel(column_axes, shown, interval[kept, panel], labels, colors)
        self._annotate(axes, [str(name) for name in table.columns], created)
        _add_legend(axes, sorted({int(orders[i]) for i in kept}), created)
        return self

    def _checked(self) -> tuple[pd.DataFrame, FloatArray, NDArray[np.intp]]:
        """Return the relevance as `(terms, outputs)`, its intervals and the terms' orders."""
        if not isinstance(self.relevance, pd.Series | pd.DataFrame) or self.relevance.size == 0:
            raise ValueError(
                "relevance must be a Series or a DataFrame with one row per term; got "
                f"{type(self.relevance).__name__}."
            )
        table = pd.DataFrame(self.relevance)
        shape = (*table.shape, 2)
        if self.interval is None:
            interval = np.full(shape, np.nan)
        else:
            interval = np.asarray(self.interval, dtype=np.float64)
            if interval.ndim == 2 and table.shape[1] == 1:
                interval = interval[:, np.newaxis]
            if interval.shape != shape or (interval[..., 0] > interval[..., 1]).any():
                raise ValueError(
                    f"interval must hold a lower and an upper end for each of {shape[0]} terms"
                    f" and {shape[1]} outputs; got an array of shape {np.shape(self.interval)}."
                )
        orders = self.orders
        if orders is None:
            orders = [_count_modalities(term) for term in table.index]
        orders = np.asarray(orders, dtype=np.intp)
        if orders.shape != shape[:1]:
            raise ValueError(f"orders must hold one number per term; got shape {orders.shape}.")
        return table, interval, orders

    def _set_axes(self, ax: Any, n_panels: int, labels: list[str]) -> tuple[list[Axes], bool]:
        """Return one axes per panel and whether they are in a new figure."""
        created = ax is None
        axes = (
            _new_axes(n_panels, labels) if created else list(np.ravel(np.array(ax, dtype=object)))
        )
        if len(axes) != n_panels:
            raise ValueError(
                f"There are {n_panels} outputs, a panel for each; got {len(axes)} axes. Pass as "
                "many, or choose one output by output=."
            )
        several = np.empty(len(axes), dtype=object)
        several[:] = axes
        self.ax_ = axes[0] if n_panels == 1 else several
        self.figure_ = axes[0].figure
        return axes, created

    def _annotate(self, axes: Sequence[Axes], names: list[str], created: bool) -> None:
        """Say what is shown; in a grid of our own only at its edges."""
        several = isinstance(self.relevance, pd.DataFrame) and self.relevance.shape[1] > 1
        for panel, (ax, name) in enumerate(zip(axes, names, strict=True)):
            if several:
                ax.set_title(short_labels([shorten(name, 24)])[0], fontsize="medium")
            bottom = panel + MAX_COLUMNS >= len(axes)
            if bottom or not created:
                ax.set_xlabel(self.label)
                ax.tick_params(labelbottom=True)


def _weighted_sizes(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Return the mean absolute contribution, centered anew in each replicate.

    Around the mean of all samples, intervals of skewed contributions would be far too narrow.
    """
    means = np.tensordot(weights, values, 1)
    return np.stack(
        [
            np.tensordot(row, np.abs(values - mean), 1)
            for row, mean in zip(weights, means, strict=True)
        ]
    )


def _count_modalities(term: Any) -> int:
    """Return the order of a term, or count the modalities in its name."""
    return int(getattr(term, "order", str(term).count(SEPARATOR) + 1))


def _color(order: int) -> str:
    return PALETTE[(order - 1) % len(PALETTE)]


def _order_name(order: int) -> str:
    if order == 1:
        return "unimodal"
    return f"{NUMBERS[order - 2] if order <= 10 else order} modalities"


def _new_axes(n_panels: int, labels: list[str]) -> list[Axes]:
    """Return a grid of panels that share both scales."""
    columns = min(n_panels, MAX_COLUMNS)
    rows = -(-n_panels // columns)
    figure, grid = import_pyplot().subplots(
        rows,
        columns,
        figsize=(
            width_for(labels, max(4.5, 2.2 * columns)),
            0.8 + rows * (0.6 + 0.27 * len(labels)),
        ),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for unused in grid.flat[n_panels:]:
        figure.delaxes(unused)
    return list(grid.flat[:n_panels])


def _draw_panel(
    ax: Axes, values: FloatArray, interval: FloatArray, labels: list[str], colors: list[str]
) -> None:
    """Draw one bar per term, the largest at the top, and the error bars there are."""
    rows = np.arange(len(values))
    ax.barh(rows, values, height=0.7, color=colors)
    for row in np.flatnonzero(np.isfinite(interval).all(axis=1)):
        low, high = interval[row]
        ax.errorbar(
            # From the middle: an interval need not contain the score.
            [(low + high) / 2],
            [row],
            xerr=[(high - low) / 2],
            fmt="none",
            ecolor="black",
            elinewidth=1.0,
            capsize=2.5,
        )
    ax.set_yticks(rows, labels)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)
    lighten(ax, grid="x")


def _add_legend(axes: Sequence[Axes], orders: list[int], created: bool) -> None:
    """Explain the colors: below a figure of our own, else in the last panel."""
    from matplotlib.patches import Patch

    handles = [Patch(color=_color(order), label=_order_name(order)) for order in orders]
    if created:
        axes[0].figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
        )
    else:
        # Sorted bars leave the lower right corner free.
        axes[-1].legend(handles=handles, loc="lower right", fontsize="small")
