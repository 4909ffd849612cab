"""What the displays share: colors, labels that fit, and which terms are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sklearn_mmfuse._decomposition import Decomposition

__all__ = [
    "GRAY",
    "NEGATIVE",
    "PALETTE",
    "POSITIVE",
    "check_count",
    "import_pyplot",
    "lighten",
    "mean_label",
    "others",
    "pick_output",
    "scale_label",
    "short_labels",
    "shorten",
    "split_terms",
    "width_for",
]

# Okabe and Ito's palette, told apart with any color vision; black is left to lines and text.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
POSITIVE, NEGATIVE, GRAY = "#0072B2", "#D55E00", "#9A9A9A"
LABEL_LENGTH = 38
SCALES = {
    "identity": "contribution to",
    "logit": "log-odds of",
    "sigmoid": "log-odds of",
    "softmax": "logit of",
}


def import_pyplot() -> Any:
    """Import matplotlib only when something is drawn: it is an optional dependency."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Plotting needs matplotlib; install it with: pip install "sklearn-mmfuse[plot]"'
        ) from error
    return plt


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a long text; names of a family differ at their ends.

    Examples
    --------
    >>> from sklearn_mmfuse.inspection._style import shorten
    >>> shorten("questionnaire_wave_1_anxiety", 15)
    'questio…anxiety'
    """
    if len(text) <= length:
        return text
    head, tail = length // 2, (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - tail :]}"


def _plain(text: str) -> str:
    """Keep matplotlib from reading `$` as mathematics and from hiding names that begin with `_`."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def short_labels(labels: Sequence[str], length: int = LABEL_LENGTH) -> list[str]:
    """Shorten labels modality by modality, but never so much that two become equal."""
    longest = max((len(label) for label in labels), default=0)
    for room in range(length, longest + 1):
        shortened = [_shorten_term(label, room) for label in labels]
        if len(set(shortened)) == len(set(labels)):
            return [_plain(label) for label in shortened]
    return [_plain(label) for label in labels]


def _shorten_term(label: str, length: int) -> str:
    if len(label) <= length:
        return label
    names = label.split(" × ")
    room = (length - 3 * (len(names) - 1)) // len(names)
    return " × ".join(shorten(name, max(room, 6)) for name in names)


def width_for(labels: Sequence[str], plot: float) -> float:
    """Return the width, in inches, of a figure whose labels leave `plot` inches to the plot."""
    return plot + 0.075 * max(len(label) for label in labels)


def others(count: int) -> str:
    """Name the terms that are drawn as one."""
    return f"{count} other terms"


def split_terms(
    size: NDArray[np.float64], max_terms: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the terms to draw, largest first, and those to add up.

    A single term is never "1 other term": its own name takes no more room.
    """
    order = np.argsort(-size, kind="stable")
    if len(size) <= max_terms + 1:
        return order, order[:0]
    return order[:max_terms], order[max_terms:]


def check_count(name: str, value: Any) -> None:
    """Refuse a limit that leaves nothing to draw."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}.")


def pick_output(output: Any, outputs: Sequence[str], name: str = "output") -> int:
    """Return the position of an output's name; a class may be given as it is, say `2`."""
    if str(output) not in outputs:
        raise ValueError(f"{name} must be one of {list(outputs)}; got {output!r}.")
    return list(outputs).index(str(output))


def scale_label(parts: Decomposition, output: int) -> str:
    """Say on which scale the contributions to an output add up."""
    return f"{SCALES[parts.link]} {_plain(shorten(parts.outputs[output], LABEL_LENGTH))}"


def mean_label(parts: Decomposition, output: int | None) -> str:
    """Name the mean absolute contribution to one output, or to all of them."""
    if output is not None:
        scale = scale_label(parts, output)
        return f"mean |{scale if parts.link == 'identity' else f'contribution to {scale}'}|"
    return f"mean |contribution{' to logit' if parts.link == 'softmax' else ''}|"


def lighten(ax: Axes, *, grid: str) -> None:
    """Leave only the frame and the grid that help to read values."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#BBBBBB")
    ax.tick_params(color="#BBBBBB")
    ax.grid(axis="x" if grid == "x" else "y", color="#E6E6E6", linewidth=0.8)
    ax.set_axisbelow(True)
