"""A picture of which modalities act alone and which pairs act together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.inspection._decomposition_drawing import number_format, with_minus
from sklearn_mmfuse.inspection._heat_map import (
    CELL,
    add_colorbar,
    draw_cells,
    fit_side_by_side,
    label_axes,
    write_cells,
)
from sklearn_mmfuse.inspection._predictors import last_step
from sklearn_mmfuse.inspection._style import (
    import_pyplot,
    mean_label,
    pick_output,
    short_labels,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EffectsDisplay"]

FloatArray = NDArray[np.float64]
NAME_LENGTH = 28


class EffectsDisplay:
    """Show the strength of each modality, on the diagonal, and of each pair, below it.

    Make one with :meth:`from_estimator` or :meth:`from_decomposition`.

    Parameters
    ----------
    strength : DataFrame
        Square and symmetric, with the modalities on both axes; NaN where there is no such term.
    higher : float, optional
        The strength of all larger sets of modalities; None when there are none.
    label : str, default="strength"
        What the strengths are, with their units.

    Attributes
    ----------
    strength, higher, label : object
        What was given.
    ax_ : matplotlib Axes
        The axes last drawn on.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from sklearn_mmfuse.inspection import EffectsDisplay
    >>> names = ["audio", "text"]
    >>> strength = pd.DataFrame([[0.1, 0.2], [0.2, 0.7]], names, names)
    >>> display = EffectsDisplay(strength, higher=0.03).plot()
    >>> [text.get_text() for text in display.ax_.texts]
    ['0.100', '0.200', '0.700']
    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Any

    def __init__(
        self, strength: pd.DataFrame, *, higher: float | None = None, label: str = "strength"
    ) -> None:
        self.strength = strength
        self.higher = higher
        self.label = label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        purify: bool = True,
        background: Any = None,
        output: Any = None,
        ax: Any = None,
    ) -> Self:
        """Decompose the predictions for `X` and draw the strength of every pair.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted estimator with `decompose`, or a pipeline that ends with one.
        X : MultimodalData, mapping, data frame or array
            What the estimator predicts from.
        purify : bool, default=True
            Whether pairs are free of what one of their modalities does alone.
        background : like X, optional
            The rows to purify over; `X` by default.
        output : str, optional
            The class or target to explain; the mean over all by default.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : EffectsDisplay
            The display, drawn.
        """
        estimator, X, background = last_step(estimator, X, background)
        if not hasattr(estimator, "decompose"):
            raise TypeError(
                f"{type(estimator).__name__} has no decompose method; pass what modality_effects "
                "returns for it to from_decomposition."
            )
        behind = {} if background is None else {"background": background}
        parts = estimator.decompose(X, purify=purify, **behind)
        return cls.from_decomposition(parts, output=output, ax=ax)

    @classmethod
    def from_decomposition(
        cls, parts: Decomposition, *, output: Any = None, ax: Any = None
    ) -> Self:
        """Draw the mean absolute contribution of every modality and pair.

        Contributions are centered over these samples; those to a single sample are taken as they
        are. The strengths of terms with the same modalities are added up. Above the matrix is the
        mean absolute sum of all terms of three and more modalities.

        Parameters
        ----------
        parts : Decomposition
            What an estimator's `decompose`, or `modality_effects` of any predictor, returned.
        output : str, optional
            The class or target to explain; the mean over all by default. Choose one where targets
            have different units.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : EffectsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            When there are no samples or there is no such output.
        """
        if len(parts) == 0:
            raise ValueError("The decomposition has no samples to average.")
        column = None if output is None else pick_output(output, parts.outputs)
        if column is None and len(parts.outputs) == 1:
            column = 0
        # Centered, nothing would be left of a single sample.
        values = (parts.center() if len(parts) > 1 else parts).values
        values = values if column is None else values[:, :, [column]]
        strength, higher = _pairs(parts.terms, values), _higher(parts.terms, values)
        return cls(strength, higher=higher, label=mean_label(parts, column)).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the strengths as a heat map with numbers.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : EffectsDisplay
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            When the strengths are not square, not symmetric or negative.
        ImportError
            When matplotlib is not installed.
        """
        values = self._checked()
        labels = short_labels([str(name) for name in self.strength.index], NAME_LENGTH)
        if ax is None:
            _, ax = import_pyplot().subplots(figsize=_size(labels), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        below = np.tri(len(values), dtype=bool)
        vmax = float(np.nanmax(values, initial=0.0)) or 1.0
        mesh = draw_cells(ax, values, vmax=vmax, shown=below)
        write_cells(ax, mesh, values, _numbers(values, below))
        label_axes(ax, labels, labels)
        if self.higher is not None:
            text = with_minus(self.higher, ".2g")
            ax.set_title(f"three and more modalities: {text}", loc="left", fontsize="small")
        if np.isnan(values).any():
            ax.set_xlabel("hatched: no such term", fontsize="small")
        add_colorbar(ax, mesh, self.label)
        return self

    def _checked(self) -> FloatArray:
        """Return the strengths as an array."""
        table = self.strength
        if not isinstance(table, pd.DataFrame) or table.size == 0 or not _is_square(table):
            raise ValueError(
                "strength must be a DataFrame with the modalities on both axes, each once and in "
                f"the same order; got {type(table).__name__} of shape {np.shape(table)}."
            )
        values = table.to_numpy(dtype=np.float64)
        if not np.allclose(values, values.T, equal_nan=True) or (values < 0).any():
            raise ValueError("strength must be symmetric and not negative.")
        return values


def _is_square(table: pd.DataFrame) -> bool:
    return table.index.equals(table.columns) and table.index.is_unique


def _pairs(terms: Sequence[Term], values: FloatArray) -> pd.DataFrame:
    """Return the strengths of modalities and pairs, those of several terms added up."""
    names = list(dict.fromkeys(name for term in terms for name in term.modalities))
    # A modality without a term of its own does nothing alone; a pair without one was left out.
    strength = np.where(np.eye(len(names)), 0.0, np.nan)
    for term, size in zip(terms, np.abs(values).mean(axis=(0, 2)), strict=True):
        if term.order <= 2:
            first, last = names.index(term.modalities[0]), names.index(term.modalities[-1])
            total = np.nan_to_num(strength[first, last]) + size
            strength[first, last] = strength[last, first] = total
    return pd.DataFrame(strength, names, names)


def _higher(terms: Sequence[Term], values: FloatArray) -> float | None:
    """Return how much all larger sets move a prediction together."""
    larger = [term.order > 2 for term in terms]
    if not any(larger):
        return None
    return float(np.abs(values[:, larger].sum(axis=1)).mean())


def _size(labels: list[str]) -> tuple[float, float]:
    longest = max(len(label) for label in labels)
    width = width_for(labels, 1.6 + CELL[0] * len(labels))
    # Slanted names reach down by their length over the square root of two.
    slanted = 0.0 if fit_side_by_side(labels) else 0.055 * longest
    return width, max(1.5 + CELL[1] * len(labels) + slanted, 2.8)


def _numbers(values: FloatArray, shown: NDArray[np.bool_]) -> dict[tuple[int, int], str]:
    form = number_format(np.nan_to_num(values))
    cells = np.argwhere(shown & np.isfinite(values))
    return {(row, column): with_minus(values[row, column], form) for row, column in cells}
