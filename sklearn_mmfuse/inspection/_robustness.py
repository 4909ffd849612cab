"""How good predictions are when only some modalities are there, as a table and as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from sklearn_mmfuse._effects import subsets
from sklearn_mmfuse._random import Seed
from sklearn_mmfuse.inspection._predictors import is_ours, last_step, with_decompose
from sklearn_mmfuse.inspection._scores import Replicates, Scores
from sklearn_mmfuse.inspection._style import (
    PALETTE,
    import_pyplot,
    lighten,
    short_labels,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RobustnessDisplay", "modality_robustness"]

# All subsets of seven modalities are 127.
MAX_SETS = 128


def modality_robustness(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sets: Sequence[Sequence[str]] | None = None,
    scoring: Any = None,
    sample_weight: Any = None,
    n_bootstrap: int = 0,
    confidence: float = 0.95,
    groups: Any = None,
    random_state: Seed = None,
) -> pd.DataFrame:
    """Return the score of a model for every set of modalities that may be left.

    Nothing is trained again: the estimator predicts with `available=`, as its `missing` says. A row
    that has none of a set is predicted by the bias.

    Parameters
    ----------
    estimator : estimator or Pipeline
        A fitted estimator of this library, or a pipeline that ends with one.
    X : MultimodalData, mapping, data frame or array
        Samples, best ones that the estimator was not fitted on.
    y : array-like of shape (n_samples,)
        Their targets.
    sets : sequence of sequence of str, optional
        The sets of available modalities; by default all, largest first.
    scoring : str or callable, optional
        As in scikit-learn; the estimator's own `score` by default.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the score.
    n_bootstrap, confidence, groups, random_state
        As for :func:`modality_importance`: replicates of rows, or of persons, for intervals.

    Returns
    -------
    scores : DataFrame
        A row per set, `"audio + text"`; columns `n_modalities`, `score` and `loss`, the score with
        all modalities minus this one. With `n_bootstrap`, the ends `low` and `high` of the interval
        of the loss.

    Raises
    ------
    TypeError
        When the estimator is not one of this library.
    ValueError
        When `sets` names other modalities, or as for :func:`modality_importance`.

    Examples
    --------
    >>> from sklearn_mmfuse import SMURFRegressor
    >>> from sklearn_mmfuse.datasets import make_redundant
    >>> from sklearn_mmfuse.inspection import modality_robustness
    >>> toy = make_redundant(300, random_state=0)
    >>> model = SMURFRegressor(hidden_layer_sizes=(), learning_rate=0.01, random_state=0)
    >>> table = modality_robustness(model.fit(toy.data, toy.target), toy.data, toy.target)
    >>> table.index.tolist()
    ['A + B + C', 'A + B', 'A + C', 'B + C', 'A', 'B', 'C']
    """
    estimator, X = last_step(estimator, X)
    if not is_ours(estimator):
        raise TypeError(
            f"{type(estimator).__name__} cannot predict without a modality; pass a fitted "
            "estimator of this library."
        )
    names = estimator.modality_names_
    asked = _check_sets(sets, names)
    replicates = Replicates(n_bootstrap, confidence, groups, random_state)
    scores = Scores(estimator, scoring, y, sample_weight, replicates)
    whole, rows = scores(estimator, X), {}
    for available in asked:
        with warnings.catch_warnings():
            # Which is what a score of so few modalities is to tell.
            warnings.filterwarnings("ignore", ".*no modality that a term could read", UserWarning)
            score = scores(_limited_to(estimator, available), X)
        loss = whole - score
        told = [len(available), float(score[0]), float(loss[0]), *scores.interval(loss)]
        rows[" + ".join(available)] = told
    columns = ["n_modalities", "score", "loss", *scores.columns]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "available"
    return table


def _check_sets(sets: Sequence[Sequence[str]] | None, names: list[str]) -> list[tuple[str, ...]]:
    if sets is not None:
        asked = [(one,) if isinstance(one, str) else tuple(one) for one in sets]
        if wrong := [one for one in asked if not one or not set(one) <= set(names)]:
            raise ValueError(f"sets must hold non-empty sets out of {names}; got {wrong[0]}.")
        return asked
    if 2 ** len(names) > MAX_SETS:
        raise ValueError(
            f"{len(names)} modalities have {2 ** len(names) - 1} subsets; say which by sets=."
        )
    return sorted(subsets(names, len(names)), key=lambda one: -len(one))


def _limited_to(estimator: Any, available: tuple[str, ...]) -> Any:
    """Return a copy that takes other modalities for absent."""
    return with_decompose(
        estimator,
        lambda X, **options: estimator.decompose(X, **(options | {"available": list(available)})),
    )


class RobustnessDisplay:
    """Show the score for every set of available modalities.

    Parameters
    ----------
    scores : DataFrame
        As returned by :func:`modality_robustness`.
    label : str, default="score"
        What the score is.

    Attributes
    ----------
    scores, label : object
        What was given.
    ax_ : matplotlib Axes
        The axes last drawn on.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> from sklearn_mmfuse.inspection import RobustnessDisplay
    >>> scores = pd.DataFrame({"n_modalities": [2, 1, 1], "score": [0.9, 0.6, 0.8]},
    ...                       index=["a + b", "a", "b"])
    >>> display = RobustnessDisplay(scores).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['a + b', 'b', 'a']
    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Any

    def __init__(self, scores: pd.DataFrame, *, label: str = "score") -> None:
        self.scores = scores
        self.label = label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        scoring: Any = None,
        sets: Sequence[Sequence[str]] | None = None,
        n_bootstrap: int = 0,
        confidence: float = 0.95,
        groups: Any = None,
        random_state: Seed = None,
        ax: Any = None,
    ) -> Self:
        """Score the estimator for every set of available modalities and draw it.

        Parameters
        ----------
        estimator, X, y, scoring, sets, n_bootstrap, confidence, groups, random_state
            As for :func:`modality_robustness`.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : RobustnessDisplay
            The display, drawn.
        """
        label = scoring if isinstance(scoring, str) else "score"
        table = modality_robustness(
            estimator,
            X,
            y,
            scoring=scoring,
            sets=sets,
            n_bootstrap=n_bootstrap,
            confidence=confidence,
            groups=groups,
            random_state=random_state,
        )
        return cls(table, label=label).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw a bar per set, larger sets and better scores first.

        Whiskers, where the table has intervals, are those of the loss: of the distance to the
        dotted line, the score with all modalities, and not of the score.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : RobustnessDisplay
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ValueError
            When there is nothing to draw.
        ImportError
            When matplotlib is not installed.
        """
        if not isinstance(self.scores, pd.DataFrame) or self.scores.empty:
            raise ValueError("scores must be a DataFrame with a row per set of modalities.")
        table = self.scores.sort_values(["n_modalities", "score"], ascending=False, kind="stable")
        labels = short_labels([str(name) for name in table.index])
        if ax is None:
            size = (width_for(labels, 4.5), 1.0 + 0.27 * len(labels))
            _, ax = import_pyplot().subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        sizes = table["n_modalities"].to_numpy()
        colors = [PALETTE[int(n - 1) % len(PALETTE)] for n in sizes]
        rows = np.arange(len(table))
        ax.barh(rows, table["score"], height=0.7, color=colors)
        told = f"{self.label} with these modalities alone"
        if {"low", "high"} <= set(table):
            _draw_whiskers(ax, table)
            told += "\n(whiskers: of the distance to the line)"
        # A gap of air between sets of different sizes.
        for edge in np.flatnonzero(np.diff(sizes)):
            ax.axhline(edge + 0.5, color="#BBBBBB", linewidth=0.8)
        ax.axvline(float(table["score"].iloc[0]), color="black", linewidth=0.8, linestyle=":")
        ax.set_yticks(rows, labels)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(told)
        lighten(ax, grid="x")
        return self


def _draw_whiskers(ax: Axes, table: pd.DataFrame) -> None:
    """Draw intervals of the loss around the scores."""
    reach = np.array([table["high"] - table["loss"], table["loss"] - table["low"]])
    varies = np.flatnonzero(np.abs(reach).sum(axis=0) > 0)  # the whole has no loss
    ax.errorbar(
        table["score"].to_numpy()[varies],
        varies,
        xerr=np.clip(reach[:, varies], 0.0, None),
        fmt="none",
        ecolor="black",
        elinewidth=1.0,
        capsize=2.5,
    )
