"""Tables of numbers as colored cells, with the numbers in them where they can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CELL", "add_colorbar", "draw_cells", "fit_side_by_side", "label_axes", "write_cells"]

FloatArray = NDArray[np.float64]
COLORMAP = "Blues"  # light is weak, on any screen and with any color vision
CELL = (0.8, 0.5)  # inches
LETTER = 0.6  # the width of a digit, in font sizes
FONT_SIZES = (5.0, 9.0)  # smaller is not legible, larger shouts


def draw_cells(ax: Axes, values: FloatArray, *, vmax: float, shown: NDArray[np.bool_]) -> Any:
    """Color the cells that are shown, row by row from the top; hatch those without a number."""
    from matplotlib.patches import Rectangle

    n_rows, n_columns = values.shape
    mesh = ax.pcolormesh(
        np.arange(n_columns + 1) - 0.5,
        np.arange(n_rows + 1) - 0.5,
        np.ma.masked_where(~shown | np.isnan(values), values),
        cmap=COLORMAP,
        vmin=0.0,
        vmax=vmax,
        edgecolors="white",
        linewidth=2.0,
    )
    for row, column in np.argwhere(shown & np.isnan(values)):
        ax.add_patch(
            Rectangle(
                (column - 0.46, row - 0.46),
                0.92,
                0.92,
                facecolor="none",
                edgecolor="#C8C8C8",
                linewidth=0.0,
                hatch="////",
            )
        )
    return mesh


def write_cells(ax: Axes, mesh: Any, values: FloatArray, texts: dict[tuple[int, int], str]) -> None:
    """Write a text into each cell that has one, where a legible size has room."""
    n_rows, n_columns = values.shape
    width, height = inches(ax)
    lines = [line for text in texts.values() for line in text.splitlines()]
    longest = max((len(line) for line in lines), default=1)
    tall = max((text.count("\n") + 1 for text in texts.values()), default=1)
    fitting = min(
        0.9 * 72 * width / n_columns / (LETTER * longest), 0.6 * 72 * height / n_rows / tall
    )
    if fitting < FONT_SIZES[0]:
        return
    for (row, column), text in texts.items():
        color = mesh.cmap(mesh.norm(values[row, column]))
        ax.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=min(fitting, FONT_SIZES[1]),
            color=_readable_on(color[:3]),
        )


def _readable_on(color: tuple[float, ...]) -> str:
    """Return black or white, whichever has the larger contrast (WCAG 2) with a background."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def label_axes(ax: Axes, rows: list[str], columns: list[str]) -> None:
    """Name rows and columns, slanted where names would run into each other."""
    width, height = inches(ax)
    # In a small axes of the caller's, too.
    room = min(width / len(columns), height / len(rows))
    ax.tick_params(length=0, labelsize=max(min(10.0, 0.8 * 72 * room), FONT_SIZES[0]))
    ax.set_yticks(range(len(rows)), rows)
    if fit_side_by_side(columns, width / len(columns)):
        ax.set_xticks(range(len(columns)), columns)
    else:
        ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def add_colorbar(ax: Axes, mesh: Any, label: str) -> None:
    """Explain the colors; the label is broken where it would be longer than the bar."""
    import textwrap

    from matplotlib.ticker import MaxNLocator

    bar: Any = ax.figure.colorbar(mesh, ax=ax, aspect=18, pad=0.03)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    letters = max(int(inches(ax)[1] / 0.085), 16)
    bar.set_label(textwrap.fill(label, letters, break_on_hyphens=False))


def fit_side_by_side(labels: list[str], width: float = CELL[0]) -> bool:
    """Whether names have room side by side in cells of a width in inches."""
    lines = [line for label in labels for line in label.splitlines()]
    return max(len(line) for line in lines) * 0.085 < width


def inches(ax: Axes) -> tuple[float, float]:
    """Return the width and height of an axes."""
    extent = ax.get_window_extent()
    return extent.width / ax.figure.dpi, extent.height / ax.figure.dpi
