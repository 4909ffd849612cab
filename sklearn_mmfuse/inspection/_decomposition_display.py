"""Pictures of a decomposition: the waterfall of one sample, the stacked bars of many."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse.inspection._style import (
    GRAY,
    NEGATIVE,
    PALETTE,
    POSITIVE,
    check_count,
    import_pyplot,
    lighten,
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
KINDS = ("auto", "waterfall", "bars")
HATCHES = ("", "////", "....")  # the palette's second and third time around
MAX_ROW_LABELS = 60


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
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None, **plot_params: Any) -> Self:
        """Decompose the predictions for `X` and draw them.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted estimator with `decompose`, or a pipeline that ends with one.
        X : MultimodalData, mapping, data frame or array
            What the estimator predicts from.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        **plot_params : Any
            Passed to :meth:`plot`.

        Returns
        -------
        display : DecompositionDisplay
            The display, drawn.
        """
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        if not hasattr(estimator, "decompose"):
            raise TypeError(
                f"{type(estimator).__name__} has no decompose method; pass a fitted estimator of "
                "this library (of a search, its best_estimator_)."
            )
        return cls.from_decomposition(estimator.decompose(X), ax=ax, **plot_params)

    def plot(
        self,
        *,
        sample: int | None = None,
        kind: str = "auto",
        output: Any = None,
        max_terms: int = 12,
        max_samples: int = 40,
        ax: Any = None,
    ) -> Self:
        """Draw one sample's waterfall or the bars of many samples.

        Parameters
        ----------
        sample : int, optional
            The row whose waterfall to draw, counted from 0.
        kind : {"auto", "waterfall", "bars"}, default="auto"
            "waterfall" leads from the bias to the raw prediction of one sample; "bars" stacks, per
            sample, what raises the prediction on what lowers it, from the bias. "auto" is the
            waterfall when there is one sample or `sample` is given.
        output : str, optional
            The class or target to explain, if there are several. A waterfall explains the
            predicted class by default.
        max_terms : int, default=12
            Show so many of the largest terms; the others are added up and drawn as one.
        max_samples : int, default=40
            Show so many samples, evenly spread over the sorted predictions.
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
        check_count("max_samples", max_samples)
        row = self._pick_sample(sample, kind)
        column = self._pick_output(output, row)
        if row is None:
            self._plot_bars(column, max_terms, max_samples, ax)
        else:
            self._plot_waterfall(row, column, max_terms, ax)
        return self

    def _pick_sample(self, sample: int | None, kind: str) -> int | None:
        """Return the row of a waterfall, or None for bars."""
        n = len(self.decomposition)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}; got {kind!r}.")
        if n == 0:
            raise ValueError("The decomposition has no samples to draw.")
        if kind == "bars":
            if sample is not None:
                raise ValueError('sample= picks the row of a waterfall; kind="bars" draws many.')
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

    def _fold(self, values: FloatArray, max_terms: int) -> tuple[FloatArray, list[str], bool]:
        """Return contributions `(n, k)`, largest term first, labels, and if the last is a rest."""
        names = [str(term) for term in self.decomposition.terms]
        kept, rest = split_terms(np.abs(values).mean(axis=0), max_terms)
        labels = short_labels([names[i] for i in kept])
        if not len(rest):
            return values[:, kept], labels, False
        lumped = values[:, rest].sum(axis=1, keepdims=True)
        return np.hstack([values[:, kept], lumped]), [*labels, others(len(rest))], True

    def _set_axes(self, ax: Any, size: tuple[float, float]) -> Axes:
        if ax is None:
            _, ax = import_pyplot().subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        return self.ax_

    def _plot_waterfall(self, row: int, column: int, max_terms: int, ax: Any) -> None:
        parts = self.decomposition
        values, labels, _ = self._fold(parts.values[[row], :, column], max_terms)
        ax = self._set_axes(ax, (width_for(labels, 5.5), 1.3 + 0.33 * (len(labels) + 2)))
        _draw_waterfall(ax, values[0], float(parts.bias[column]))
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
            form = _number_format(parts.values[row, :, column])
            return f"Sample {row}: {name} = {_format(value, form)}"
        return f"Sample {row}: P({name}) = {value:.2f}"

    def _plot_bars(self, column: int, max_terms: int, max_samples: int, ax: Any) -> None:
        parts = self.decomposition
        values, labels, has_rest = self._fold(parts.values[:, :, column], max_terms)
        raw = parts.sum()[:, column]
        rows = _spread(raw, max_samples)
        ax = self._set_axes(ax, (width_for(labels, 7.5), max(4.2, 1.4 + 0.22 * len(labels))))
        _draw_bars(ax, values[rows], labels, float(parts.bias[column]), has_rest)
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
        _label_rows(ax, rows)
        shown = "" if len(rows) == len(parts) else f"{len(rows)} of {len(parts)} "
        ax.set_xlabel(f"{shown}samples, by prediction")
        ax.set_ylabel(scale_label(parts, column))
        # Beside the axes: bars of both signs leave no corner free.
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")


def _spread(raw: FloatArray, count: int) -> NDArray[np.intp]:
    """Return rows sorted by prediction; of many, `count` evenly spread from lowest to highest."""
    rows = np.argsort(raw, kind="stable")
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.intp)]


def _number_format(values: FloatArray) -> str:
    """Return a format with about three digits for the largest of the values."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return "z.2f"
    if not 1e-4 <= largest < 1e6:
        return "z.3g"
    return f"z.{max(2 - int(np.floor(np.log10(largest))), 0)}f"


def _format(value: float, form: str) -> str:
    """Write a number as matplotlib does on the axes, with a true minus sign."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def _draw_waterfall(ax: Axes, steps: FloatArray, bias: float) -> None:
    """Draw a bar per step, from the bias at the top to the prediction at the bottom."""
    levels = bias + np.concatenate([[0.0], np.cumsum(steps)])
    rows = np.arange(1, len(steps) + 1)
    colors = [POSITIVE if step >= 0 else NEGATIVE for step in steps]
    # The bias and the prediction are points, not bars: bars would have to begin at 0, and a target
    # around 1000 would leave no room for what the modalities contribute.
    ax.vlines(
        levels,
        np.arange(len(levels)),
        np.arange(1, len(levels) + 1),
        color=GRAY,
        lw=0.8,
        zorder=0.9,
    )
    # The edge keeps a step visible that is thinner than a line.
    ax.barh(rows, steps, left=levels[:-1], height=0.62, color=colors, edgecolor=colors, lw=0.8)
    ax.plot(levels[[0, -1]], [0, len(levels)], "D", color="black", markersize=5)
    spread = float(np.ptp(levels)) or abs(bias) or 1.0
    room = 0.03 * spread * (2 + _write_values(ax, levels, steps))
    ax.set_xlim(levels.min() - room, levels.max() + room)
    ax.set_ylim(len(levels) + 0.6, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)
    lighten(ax, grid="x")


def _write_values(ax: Axes, levels: FloatArray, steps: FloatArray) -> int:
    """Write each value beside its bar, where the bar points; return the longest text's length."""
    form = _number_format(steps)
    texts = [_format(levels[0], form), *(_format(step, f"+{form}") for step in steps)]
    texts.append(_format(levels[-1], form))
    ends = [*levels, levels[-1]]
    for row, (text, end) in enumerate(zip(texts, ends, strict=True)):
        left = 0 < row < len(levels) and steps[row - 1] < 0
        ax.annotate(
            text,
            (end, row),
            xytext=(-5 if left else 7, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize="small",
        )
    return max(len(text) for text in texts)


def _draw_bars(
    ax: Axes, values: FloatArray, labels: list[str], bias: float, has_rest: bool
) -> None:
    """Stack what raises a prediction above the bias and what lowers it below."""
    upper, lower = np.full(len(values), bias), np.full(len(values), bias)
    for i, label in enumerate(labels):
        height = values[:, i]
        rest = has_rest and i == len(labels) - 1
        ax.bar(
            range(len(values)),
            height,
            bottom=np.where(height >= 0, upper, lower),
            width=0.85,
            color=GRAY if rest else PALETTE[i % len(PALETTE)],
            hatch="" if rest else HATCHES[i // len(PALETTE) % len(HATCHES)],
            edgecolor="white",
            linewidth=0.4,
            label=label,
        )
        upper += np.maximum(height, 0.0)
        lower += np.minimum(height, 0.0)
    ax.axhline(bias, color="black", linewidth=0.8, label="bias")
    lighten(ax, grid="y")


def _label_rows(ax: Axes, rows: NDArray[np.intp]) -> None:
    """Name the samples by their rows, where there is room."""
    ax.set_xlim(-0.7, len(rows) - 0.3)
    if len(rows) > MAX_ROW_LABELS:
        ax.set_xticks([])
        return
    crowded = len(rows) > 15
    ax.set_xticks(range(len(rows)), [str(row) for row in rows])
    ax.tick_params(
        axis="x", length=0, rotation=90 if crowded else 0, labelsize="x-small" if crowded else None
    )
