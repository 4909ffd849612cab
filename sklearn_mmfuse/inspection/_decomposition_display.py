"""Pictures of a decomposition: the waterfall of one sample, stacked bars or dots of many."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse.inspection._decomposition_drawing import (
    ROW_HEIGHT,
    draw_bars,
    draw_beeswarm,
    draw_waterfall,
    label_rows,
    number_format,
    spread,
    with_minus,
)
from sklearn_mmfuse.inspection._predictors import last_step
from sklearn_mmfuse.inspection._style import (
    check_count,
    import_pyplot,
    others,
    pick_output,
    scale_label,
    short_labels,
    shorten,
    split_terms,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DecompositionDisplay"]

FloatArray = NDArray[np.float64]
KINDS = ("auto", "waterfall", "bars", "beeswarm")
# Of many samples, so many are drawn.
MAX_SAMPLES = {"bars": 40, "beeswarm": 400}


class DecompositionDisplay:
    """Show how contributions add up to predictions.

    Make one with :meth:`from_estimator` or :meth:`from_decomposition`; draw it again, another
    sample or class, with :meth:`plot`.

    Parameters
    ----------
    decomposition : Decomposition
        What to draw.

    Attributes
    ----------
    decomposition : Decomposition
        What was given.
    ax_ : matplotlib Axes
        The axes last drawn on.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_mmfuse import Decomposition
    >>> from sklearn_mmfuse._terms import Term
    >>> from sklearn_mmfuse.inspection import DecompositionDisplay
    >>> terms = [Term(["audio"]), Term(["audio", "text"])]
    >>> parts = Decomposition(np.array([[[1.0], [0.5]], [[3.0], [-0.5]]]), np.array([10.0]),
    ...                       terms, "identity", ["y"])
    >>> display = DecompositionDisplay.from_decomposition(parts, sample=1)
    >>> display.ax_.get_title()
    'Sample 1: y = 12.50'
    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Any

    def __init__(self, decomposition: Decomposition) -> None:
        self.decomposition = decomposition

    @classmethod
    def from_decomposition(
        cls, parts: Decomposition, *, ax: Any = None, **plot_params: Any
    ) -> Self:
        """Draw a decomposition.

        Parameters
        ----------
        parts : Decomposition
            What an estimator's `decompose` returned.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : DecompositionDisplay
            The display, drawn.
        """
        return cls(parts).plot(ax=ax, **plot_params)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, background: Any = None, ax: Any = None, **plot_params: Any
    ) -> Self:
        """Decompose the predictions for `X` and draw them.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted estimator with `decompose`, or a pipeline that ends with one.
        X : MultimodalData, mapping, data frame or array
            What the estimator predicts from.
        background : like X, optional
            Draw pure effects over these rows, `decompose(X, purify=True, background=background)`.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : DecompositionDisplay
            The display, drawn.
        """
        estimator, X, background = last_step(estimator, X, background)
        if not hasattr(estimator, "decompose"):
            raise TypeError(
                f"{type(estimator).__name__} has no decompose method; pass a fitted estimator of "
                "this library (of a search, its best_estimator_)."
            )
        behind = {} if background is None else {"purify": True, "background": background}
        return cls.from_decomposition(estimator.decompose(X, **behind), ax=ax, **plot_params)

    def plot(
        self,
        *,
        sample: int | None = None,
        kind: str = "auto",
        output: Any = None,
        max_terms: int = 12,
        max_samples: int | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw one sample's waterfall, or bars or dots of many samples.

        Parameters
        ----------
        sample : int, optional
            The row whose waterfall to draw, counted from 0.
        kind : {"auto", "waterfall", "bars", "beeswarm"}, default="auto"
            "waterfall" leads from the bias to the raw prediction of one sample, with intervals
            where contributions have standard errors; "bars" stacks, per sample, what raises the
            prediction on what lowers it, from the bias; "beeswarm" shows, per term, a dot for the
            contribution to each sample that has it, colored by its raw prediction. "auto" is the
            waterfall when there is one sample or `sample` is given, and bars otherwise.
        output : str, optional
            The class or target to explain, if there are several. A waterfall explains the
            predicted class by default.
        max_terms : int, default=12
            Show so many of the largest terms; the others are added up and drawn as one.
        max_samples : int, optional
            Show so many samples, evenly spread over the sorted predictions; by default 40 bars,
            or 400 dots per term.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : DecompositionDisplay
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            When there is no such sample, kind or output, or an output must be named.
        ImportError
            When matplotlib is not installed.
        """
        check_count("max_terms", max_terms)
        row = self._pick_sample(sample, kind)
        column = self._pick_output(output, row)
        if row is not None:
            self._plot_waterfall(row, column, max_terms, ax)
            return self
        kind = "bars" if kind == "auto" else kind
        max_samples = MAX_SAMPLES[kind] if max_samples is None else max_samples
        check_count("max_samples", max_samples)
        plot_many = self._plot_bars if kind == "bars" else self._plot_beeswarm
        plot_many(column, max_terms, max_samples, ax)
        return self

    def _pick_sample(self, sample: int | None, kind: str) -> int | None:
        """Return the row of a waterfall, or None for a picture of many."""
        n = len(self.decomposition)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}; got {kind!r}.")
        if n == 0:
            raise ValueError("The decomposition has no samples to draw.")
        if kind in MAX_SAMPLES:
            if sample is not None:
                raise ValueError(f'sample= picks the row of a waterfall; kind="{kind}" draws many.')
            return None
        if sample is None and n > 1:
            if kind == "waterfall":
                raise ValueError(f"A waterfall shows one of the {n} samples: say which by sample=.")
            return None
        row = 0 if sample is None else operator.index(sample)
        if not 0 <= row < n:
            raise ValueError(f"sample must be between 0 and {n - 1}; got {sample!r}.")
        return row

    def _pick_output(self, output: Any, row: int | None) -> int:
        parts = self.decomposition
        if output is not None:
            return pick_output(output, parts.outputs)
        if len(parts.outputs) == 1:
            return 0
        # Logits of different classes cannot share an axis, nor can targets in different units.
        if row is None or parts.link != "softmax":
            raise ValueError(
                f"The decomposition has {len(parts.outputs)} outputs; choose one by output=, one "
                f"of {list(parts.outputs)}."
            )
        return int(parts.sum()[row].argmax())

    def _fold(
        self, rows: slice, column: int, max_terms: int
    ) -> tuple[FloatArray, list[str], bool, NDArray[np.bool_]]:
        """Return contributions `(n, k)`, largest term first, labels, and if the last is a rest.

        Then what rows lack, `(n, k)`: a term that is absent has no contribution, not one of zero.
        """
        parts = self.decomposition
        values = parts.values[rows, :, column]
        absent = np.zeros(values.shape, bool) if parts.absent is None else parts.absent[rows]
        names = [str(term) for term in parts.terms]
        kept, rest = split_terms(np.abs(values).mean(axis=0), max_terms)
        labels = short_labels([names[i] for i in kept])
        if not len(rest):
            return values[:, kept], labels, False, absent[:, kept]
        lumped = values[:, rest].sum(axis=1, keepdims=True)
        lacking = absent[:, rest].all(axis=1, keepdims=True)
        return (
            np.hstack([values[:, kept], lumped]),
            [*labels, others(len(rest))],
            True,
            np.hstack([absent[:, kept], lacking]),
        )

    def _set_axes(self, ax: Any, size: tuple[float, float]) -> Axes:
        if ax is None:
            _, ax = import_pyplot().subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        return self.ax_

    def _plot_waterfall(self, row: int, column: int, max_terms: int, ax: Any) -> None:
        parts = self.decomposition
        values, labels, has_rest, absent = self._fold(slice(row, row + 1), column, max_terms)
        ax = self._set_axes(ax, (width_for(labels, 5.5), 1.3 + 0.33 * (len(labels) + 2)))
        reach = None
        if parts.standard_errors is not None:
            ends = parts.interval()[row, :, column]
            size = np.abs(parts.values[row, :, column])
            reach = (ends[:, 1] - ends[:, 0])[split_terms(size, max_terms)[0]] / 2
            reach = np.append(reach, 0.0) if has_rest else reach  # of a sum there is none
        draw_waterfall(ax, values[0], float(parts.biases[row, column]), reach, absent[0])
        ax.set_yticks(range(len(labels) + 2), ["bias", *labels, "raw prediction"])
        ax.set_xlabel(scale_label(parts, column))
        ax.set_title(self._waterfall_title(row, column))

    def _waterfall_title(self, row: int, column: int) -> str:
        """Say what is predicted, on the scale on which it is reported."""
        parts = self.decomposition
        name = short_labels([shorten(parts.outputs[column], 30)])[0]
        # A binary decomposition has one output, the second of two columns of probabilities.
        value = parts.predict()[row, 1 if parts.link == "logit" else column]
        if parts.link == "identity":
            form = number_format(parts.values[row, :, column])
            return f"Sample {row}: {name} = {with_minus(value, form)}"
        return f"Sample {row}: P({name}) = {value:.2f}"

    def _plot_bars(self, column: int, max_terms: int, max_samples: int, ax: Any) -> None:
        parts = self.decomposition
        values, labels, has_rest, _ = self._fold(slice(None), column, max_terms)
        raw = parts.sum()[:, column]
        rows = spread(raw, max_samples)
        ax = self._set_axes(ax, (width_for(labels, 7.5), max(4.2, 1.4 + 0.22 * len(labels))))
        draw_bars(ax, values[rows], labels, parts.biases[rows, column], has_rest)
        ax.plot(
            range(len(rows)),
            raw[rows],
            "o",
            color="black",
            markeredgecolor="white",  # or it is lost on dark bars
            markeredgewidth=0.6,
            markersize=4.5,
            label="raw prediction",
        )
        label_rows(ax, rows)
        shown = "" if len(rows) == len(parts) else f"{len(rows)} of {len(parts)} "
        ax.set_xlabel(f"{shown}samples, by prediction")
        ax.set_ylabel(scale_label(parts, column))
        # Beside the axes: bars of both signs leave no corner free.
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")

    def _plot_beeswarm(self, column: int, max_terms: int, max_samples: int, ax: Any) -> None:
        parts = self.decomposition
        values, labels, has_rest, absent = self._fold(slice(None), column, max_terms)
        values = np.where(absent, np.nan, values)  # no dot
        raw = parts.sum()[:, column]
        rows = spread(raw, max_samples)
        ax = self._set_axes(ax, (width_for(labels, 6.2), 1.2 + ROW_HEIGHT * len(labels)))
        dots = draw_beeswarm(ax, values[rows], labels, raw[rows], has_rest)
        label = scale_label(parts, column)
        ax.set_xlabel(label if parts.link == "identity" else f"contribution to {label}")
        shown = "" if len(rows) == len(parts) else f", {len(rows)} of {len(parts)} samples"
        bar = ax.figure.colorbar(dots, ax=ax, label=f"raw prediction{shown}", aspect=25)
        bar.outline.set_visible(False)
