"""How a decomposition is drawn: the bars and dots of `DecompositionDisplay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfuse.inspection._style import GRAY, NEGATIVE, PALETTE, POSITIVE, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "draw_bars",
    "draw_beeswarm",
    "draw_waterfall",
    "label_rows",
    "number_format",
    "spread",
    "swarm",
    "with_minus",
]

FloatArray = NDArray[np.float64]
HATCHES = ("", "////", "....")  # the palette's second and third time around
MAX_ROW_LABELS = 60
DOTS = (4.5, 3.5, 2.5)  # points
ROW_HEIGHT = 0.45  # inches
ROOM = 0.42  # of a row, on either side of its middle


def spread(raw: FloatArray, count: int) -> NDArray[np.intp]:
    """Return rows sorted by prediction; of many, `count` evenly spread from lowest to highest."""
    rows = np.argsort(raw, kind="stable")
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.intp)]


def number_format(values: FloatArray) -> str:
    """Return a format with about three digits for the largest of the values."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return "z.2f"
    if not 1e-4 <= largest < 1e6:
        return "z.3g"
    return f"z.{max(2 - int(np.floor(np.log10(largest))), 0)}f"


def with_minus(value: float, form: str) -> str:
    """Write a number as matplotlib does on the axes, with a true minus sign."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def draw_waterfall(
    ax: Axes,
    steps: FloatArray,
    bias: float,
    reach: FloatArray | None,
    absent: NDArray[np.bool_],
) -> None:
    """Draw a bar per step, from the bias at the top to the prediction at the bottom.

    `reach` are the half widths of the steps' intervals, `absent` says which steps are none.
    """
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
    low, high = levels, levels
    if reach is not None:
        ax.errorbar(
            levels[1:], rows, xerr=reach, fmt="none", ecolor="black", elinewidth=1.0, capsize=2.0
        )
        low, high = levels - np.append(0.0, reach), levels + np.append(0.0, reach)
    width = float(high.max() - low.min()) or abs(bias) or 1.0
    room = 0.03 * width * (2 + write_values(ax, levels, steps, reach, absent))
    ax.set_xlim(low.min() - room, high.max() + room)
    ax.set_ylim(len(levels) + 0.6, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)
    lighten(ax, grid="x")


def write_values(
    ax: Axes,
    levels: FloatArray,
    steps: FloatArray,
    reach: FloatArray | None,
    absent: NDArray[np.bool_],
) -> int:
    """Write each value beside its bar, where the bar points; return the longest text's length."""
    form = number_format(steps)
    of_steps = [
        "absent" if gone else with_minus(step, f"+{form}")
        for step, gone in zip(steps, absent, strict=True)
    ]
    texts = [with_minus(levels[0], form), *of_steps, with_minus(levels[-1], form)]
    beyond = np.zeros(len(steps)) if reach is None else np.where(steps < 0, -reach, reach)
    ends = [levels[0], *(levels[1:] + beyond), levels[-1]]
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


def draw_bars(
    ax: Axes, values: FloatArray, labels: list[str], bias: FloatArray, has_rest: bool
) -> None:
    """Stack what raises a prediction above the bias of its row and what lowers it below."""
    upper, lower = bias.copy(), bias.copy()
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
    if len(bias) == 0 or (bias == bias[0]).all():
        ax.axhline(float(bias.mean()), color="black", linewidth=0.8, label="bias")
    else:  # the samples come from several models
        x = np.arange(len(bias))
        ax.hlines(bias, x - 0.42, x + 0.42, color="black", linewidth=1.2, label="bias")
    lighten(ax, grid="y")


def label_rows(ax: Axes, rows: NDArray[np.intp]) -> None:
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


def swarm(x: FloatArray, diameter: float, step: float) -> FloatArray:
    """Return heights at which dots do not touch, the middle layer filled first.

    From left to right, each dot takes the layer nearest the middle in which the dot before it is
    far enough away.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Where the dots are.
    diameter : float
        Of a dot, on the scale of `x`.
    step : float
        The distance of layers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.inspection._decomposition_drawing import swarm
    >>> swarm(np.array([0.0, 0.0, 5.0, 0.0]), diameter=1.0, step=0.1)
    array([ 0. ,  0.1,  0. , -0.1])
    """
    heights, last = np.zeros(len(x)), list[float]()
    for dot in np.argsort(x, kind="stable"):
        free = (i for i, end in enumerate(last) if x[dot] - end >= diameter)
        layer = next(free, len(last))
        last[layer : layer + 1] = [float(x[dot])]
        heights[dot] = step * ((layer + 1) // 2) * (1 if layer % 2 else -1)
    return heights + 0.0  # no -0.0


def _fit_dots(values: FloatArray, ax: Axes) -> tuple[float, FloatArray]:
    """Return the largest size, in points, at which the dots of every row have room, and heights."""
    low, high = ax.get_xlim()
    width = ax.get_window_extent().width / ax.figure.dpi * 72  # points
    for size in DOTS:
        diameter, step = (high - low) * size / width, size / 72 / ROW_HEIGHT
        heights = np.zeros(values.shape)
        for term, own in zip(values.T, heights.T, strict=True):
            there = ~np.isnan(term)
            own[there] = swarm(term[there], diameter, step)
        tallest = np.abs(heights).max(axis=0, initial=0.0)
        if (tallest <= ROOM).all():
            break
    # Where even the smallest have none, dots cover each other.
    return size, heights * np.minimum(1.0, ROOM / np.maximum(tallest, ROOM))


def draw_beeswarm(
    ax: Axes, values: FloatArray, labels: list[str], raw: FloatArray, has_rest: bool
) -> Any:
    """Draw a row of dots per term, one dot per sample (NaN: none), colored by its prediction."""
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
    room = 0.04 * ((high - low) or 1.0)
    low, high = low - room, high + room
    ax.set_xlim(low, high)
    size, heights = _fit_dots(values, ax)
    ax.axvline(0.0, color=GRAY, linewidth=0.8, zorder=0.9)
    dots = None
    for row, term in enumerate(values.T):
        dots = ax.scatter(
            term,
            row + heights[:, row],
            c=raw,
            s=size**2,
            cmap="cividis",
            vmin=float(raw.min()),
            vmax=float(raw.max()),
            marker="s" if has_rest and row == len(labels) - 1 else "o",
            edgecolors="white",
            linewidths=0.3 if size == DOTS[0] else 0.0,
        )
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=6)
    lighten(ax, grid="x")
    return dots
